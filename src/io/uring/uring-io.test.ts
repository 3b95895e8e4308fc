/** The ring where it is pressed: test/io/uring.test.ts runs the suite over it as it is used. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { conformance } from "../../../test/io/conformance.ts";
import { fileConformance } from "../../../test/io/conformance-files.ts";
import { withDrive } from "../../../test/io/drive.ts";
import { closeDataFile, openDataFile } from "../../native/files.ts";
import { createUringIo, type UringIo, type UringOptions } from "./uring-io.ts";

function make(options: UringOptions): UringIo {
  const { io, reason } = createUringIo(options);
  if (io === null) throw new Error(`io_uring is missing here: ${reason}`);
  return io;
}

// A submission ring far smaller than what is in flight: the rest waits its turn.
conformance("owned, 2 entries", () => make({ drive: "owned", entries: 2 }));
conformance("guest, 2 entries", () => make({ drive: "guest", entries: 2 }));
// The ways in which older kernels deliver completions.
conformance("owned, Linux 5.19", () => make({ drive: "owned", kernel: "5.19" }));
conformance("guest, Linux 5.19", () => make({ drive: "guest", kernel: "5.19" }));
conformance("owned, Linux 5.11", () => make({ drive: "owned", kernel: "5.11", entries: 4 }));
conformance("guest, Linux 5.11", () => make({ drive: "guest", kernel: "5.11", entries: 4 }));

conformance("owned, sleeping at once", () => make({ drive: "owned", pollUs: 0 }));
conformance("owned, polling for long", () => make({ drive: "owned", pollUs: 5000 }));
// Files and buffers that the kernel keeps at hand.
const registering = (options: UringOptions) =>
  Object.assign(() => make({ ...options, registeredBuffers: true }), { registersFiles: true });
conformance("owned, registered", registering({ drive: "owned" }));
conformance("guest, registered, 2 entries", registering({ drive: "guest", entries: 2 }));
conformance("guest, registered, Linux 5.11", registering({ drive: "guest", kernel: "5.11" }));

describe("without RWF_DSYNC", () => {
  fileConformance(() => make({ drive: "guest", durableWrite: false }));
});
describe("without RWF_DSYNC, registered", () => {
  fileConformance(registering({ drive: "guest", durableWrite: false }));
});

test.each(["owned", "guest"] as const)("a registered file serves (%s)", (drive) => {
  const io = make({ drive });
  return withDrive(
    () => io,
    async (test) => {
      const file = test.openFile(65_536, true);
      expect(io.registerFile(file)).toBe(true);
      const buffer = io.allocate(8192);
      buffer.bytes.fill(3, 0, 4096);
      expect(await test.write(file, buffer, 0, 4096, 4096, true)).toBe(4096);
      expect(await test.read(file, buffer, 4096, 4096, 4096)).toBe(4096);
      expect(await test.sync(file)).toBe(0);
      expect(buffer.bytes.every((byte) => byte === 3)).toBe(true);
      io.unregisterFile(file);
      expect(await test.read(file, buffer, 0, 4096, 0)).toBe(4096);
      expect(buffer.bytes[0]).toBe(0);
    },
  );
});

test("what is registered is counted, and gone when the backend has stopped", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "pacioli-registered-")), "file");
  const create = { sizeBytes: 65_536 };
  const file = openDataFile(path, { directIo: false, create });
  const io = make({ drive: "guest", files: [file.fd], registeredBuffers: true });
  const { registered } = io.stats;
  for (const size of [4096, 100, 65_536]) io.allocate(size);
  expect(registered).toEqual({
    files: 1,
    filesRefusal: null,
    buffers: 3,
    bufferBytes: 4096 + 100 + 65_536,
    buffersRefusal: null,
  });
  await new Promise<void>((resolve) => io.stop(resolve));
  closeDataFile(file);
  // Nothing holds on to the lock.
  closeDataFile(openDataFile(path, { directIo: false }));
  // Memory of a backend that has stopped is plain memory.
  expect(io.allocate(4096).bytes[4095]).toBe(0);
  expect(registered?.buffers).toBe(3);
  rmSync(dirname(path), { recursive: true });
});

test("without the option no memory is locked", async () => {
  const io = make({ drive: "guest" });
  io.allocate(4096);
  expect(io.stats.registered).toMatchObject({ files: 0, buffers: 0, buffersRefusal: null });
  await new Promise<void>((resolve) => io.stop(resolve));
});

test("an idle backend waits: its turns are few", () =>
  withDrive(
    () => make({ drive: "owned" }),
    async (drive) => {
      const before = drive.turns;
      const begunAt = performance.now();
      await drive.timeout(300);
      const elapsedMs = performance.now() - begunAt;
      // One per 10 ms, and those of the test runner's own events, which a busy machine stretches
      // along with the wait; a loop that spins takes tens per millisecond.
      expect((drive.turns - before) / elapsedMs).toBeLessThan(3);
    },
  ));
