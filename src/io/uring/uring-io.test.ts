import { conformance } from "../../../test/io/conformance.ts";
import { createUringIo, type UringIo } from "./uring-io.ts";

function make(drive: "owned" | "guest", entries: number): UringIo {
  const { io, reason } = createUringIo({ drive, entries });
  if (io === null) throw new Error(`io_uring is missing here: ${reason}`);
  return io;
}

conformance("uring, owned", () => make("owned", 256));
conformance("uring, guest", () => make("guest", 256));
// A submission ring far smaller than what is in flight: the rest waits its turn.
conformance("uring, owned, 2 entries", () => make("owned", 2));
conformance("uring, guest, 2 entries", () => make("guest", 2));
