/** The ring where it is pressed: test/io/uring.test.ts runs the suite over it as it is used. */
import { describe, expect, test } from "vitest";
import { conformance } from "../../../test/io/conformance.ts";
import { fileConformance } from "../../../test/io/conformance-files.ts";
import { withDrive } from "../../../test/io/drive.ts";
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

describe("without RWF_DSYNC", () => {
  fileConformance(() => make({ drive: "guest", durableWrite: false }));
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
