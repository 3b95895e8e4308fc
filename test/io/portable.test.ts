import { PortableIo } from "../../src/io/portable/portable-io.ts";
import { conformance } from "./conformance.ts";

conformance("portable", () => new PortableIo());
