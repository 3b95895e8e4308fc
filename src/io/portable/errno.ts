/**
 * Node reports failures by code name, with numbers that differ between systems; the I/O contract
 * has the Linux numbers. Names that nobody above tells apart become −EIO.
 */

const errnoByCode: ReadonlyMap<string, number> = new Map([
  ["EPERM", -1],
  ["ENOENT", -2],
  ["EINTR", -4],
  ["EIO", -5],
  ["EBADF", -9],
  ["EAGAIN", -11],
  ["ENOMEM", -12],
  ["EACCES", -13],
  ["EFAULT", -14],
  ["EBUSY", -16],
  ["EISDIR", -21],
  ["EINVAL", -22],
  ["ENFILE", -23],
  ["EMFILE", -24],
  ["EFBIG", -27],
  ["ENOSPC", -28],
  ["ESPIPE", -29],
  ["EROFS", -30],
  ["EPIPE", -32],
  ["ENOTSOCK", -88],
  ["EAFNOSUPPORT", -97],
  ["EADDRINUSE", -98],
  ["EADDRNOTAVAIL", -99],
  ["ENETDOWN", -100],
  ["ENETUNREACH", -101],
  ["ECONNABORTED", -103],
  ["ECONNRESET", -104],
  ["ENOBUFS", -105],
  ["ENOTCONN", -107],
  ["ETIMEDOUT", -110],
  ["ECONNREFUSED", -111],
  ["EHOSTUNREACH", -113],
  ["EDQUOT", -122],
  ["ECANCELED", -125],
  // A write to a socket that Node has torn down already.
  ["ERR_STREAM_DESTROYED", -32],
  ["ERR_STREAM_WRITE_AFTER_END", -32],
]);

export const badHandle = -9;
export const tooManyHandles = -24;

/** The negative errno for an error from `node:fs` or `node:net`. */
export function errnoOf(error: NodeJS.ErrnoException): number {
  const code = error.code;
  if (code === undefined) return -5;
  return errnoByCode.get(code) ?? -5;
}
