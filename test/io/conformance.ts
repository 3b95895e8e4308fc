/** What every backend must do alike, as tests over a factory of backends. */
import { describe } from "vitest";
import { fileConformance } from "./conformance-files.ts";
import { loopConformance } from "./conformance-loop.ts";
import { socketConformance } from "./conformance-sockets.ts";
import { streamConformance } from "./conformance-streams.ts";
import type { MakeIo } from "./drive.ts";

export function conformance(name: string, make: MakeIo): void {
  describe(`${name}: files`, () => fileConformance(make));
  describe(`${name}: sockets`, () => socketConformance(make));
  describe(`${name}: streams`, () => streamConformance(make));
  describe(`${name}: loop`, () => loopConformance(make));
}
