/** errno values that the ring backend decides by, beyond those of the I/O contract. */

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
