/**
 * The suite over io_uring. A machine on which it should run and does not fails these tests;
 * PACIOLI_EXPECT_URING=0 says that this machine is not one (see fallback.test.ts for such).
 */
import { expect, test } from "vitest";
import { openIo } from "../../src/io/open-io.ts";
import { conformance } from "./conformance.ts";

const expected = process.platform === "linux" && process.env["PACIOLI_EXPECT_URING"] !== "0";

if (expected) {
  test("io_uring is available, as it should be on Linux", () => {
    try {
      const { io, note } = openIo({ backend: "uring", drive: "guest" });
      expect(note).toBe("I/O backend: io_uring.");
      io.stop(() => {});
    } catch (error) {
      throw new Error(
        `${(error as Error).message} Build the addon with 'npm run build', or set ` +
          "PACIOLI_EXPECT_URING=0 on a machine that has no io_uring.",
      );
    }
  });
  conformance("uring, owned", () => openIo({ backend: "uring", drive: "owned" }).io);
  conformance("uring, guest", () => openIo({ backend: "uring", drive: "guest" }).io);
} else {
  test("openIo says that io_uring is missing", () => {
    expect(() => openIo({ backend: "uring", drive: "owned" })).toThrow("io_uring");
    expect(openIo({ backend: "auto", drive: "owned" }).io.name).toBe("portable");
  });
}
