/** The conformance suite where the ring is pressed: test/io/uring.test.ts runs it as it is used. */
import { conformance } from "../../../test/io/conformance.ts";
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
