/** errno values that the ring backend decides by, beyond those of the I/O contract. */

import { getSystemErrorName } from "node:util";

export const interrupted = -4;
export const badHandle = -9;
export const again = -11;
export const tooManyHandles = -24;
export const notSupported = -95;
export const timedOut = -62;
export const already = -114;

/**
 * Errors of the network that accept hands on from a connection that is gone already: the next one
 * may be well. (accept(2): ENETDOWN, EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
 * EOPNOTSUPP, ENETUNREACH, and ECONNABORTED.)
 */
export const goneBeforeAccept: ReadonlySet<number> = new Set([
  -100, -71, -92, -112, -64, -113, -95, -101, -103,
]);

/** Why the kernel does not keep a file or a buffer at hand, for a person. */
export function registrationRefusal(error: number): string {
  const name = getSystemErrorName(error);
  switch (name) {
    case "ENOMEM":
      return "the limit of locked memory is reached; raise it (ulimit -l)";
    case "ENOSPC":
      return "the ring's table is full";
    case "EFBIG":
      return "a buffer is larger than the kernel's limit of 1 GiB";
    case "EINVAL":
      return "this kernel cannot, Linux 5.19 can";
    default:
      return `the kernel refuses: ${name}`;
  }
}
