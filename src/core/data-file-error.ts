/**
 * Why a data file cannot be used. Its place may refuse (native/files.ts: it is missing, locked, on
 * a full disk) or its content (src/wal: another version, too few good superblocks); to a caller
 * both are one thing, which a person has to do something about.
 */

/** Stable: programs match on them. */
export const DataFileErrorCode = {
  missing: "ERR_FILE_MISSING",
  exists: "ERR_FILE_EXISTS",
  /** Another process uses it. */
  locked: "ERR_FILE_LOCKED",
  isDirectory: "ERR_FILE_IS_DIRECTORY",
  /** Neither a regular file nor a block device. */
  kind: "ERR_FILE_KIND",
  size: "ERR_FILE_SIZE",
  permission: "ERR_FILE_PERMISSION",
  noDirectIo: "ERR_NO_DIRECT_IO",
  noSpace: "ERR_NO_SPACE",
  filesMax: "ERR_FILES_MAX",
  /** A call failed in a way that has no code of its own. */
  io: "ERR_FILE_IO",

  /** No superblock copy carries our magic number. */
  notDataFile: "ERR_NOT_DATA_FILE",
  /** Written by another version of the format. */
  formatVersion: "ERR_FORMAT_VERSION",
  /** Too few valid copies, or copies that contradict each other. */
  superblock: "ERR_SUPERBLOCK",
  /** Options outside what this program can run. */
  options: "ERR_FORMAT_OPTIONS",
} as const;
export type DataFileErrorCode = (typeof DataFileErrorCode)[keyof typeof DataFileErrorCode];

/**
 * What to do about a data file that has lost something, without a final period. One of several
 * replicas must never be given an old copy: it would have forgotten what it promised the others.
 * @param replicaCount - Null while the file cannot tell.
 */
export function lossRemedy(replicaCount: number | null): string {
  if (replicaCount === 1) return "restore the data file from a copy";
  const rebuild =
    "move the file away and rebuild the replica from the others with 'pacioli recover'";
  if (replicaCount !== null) return rebuild;
  return `restore the data file from a copy; but in a cluster of several, ${rebuild}`;
}

/** `message` is one sentence for a person. */
export class DataFileError extends Error {
  override name = "DataFileError";

  constructor(
    readonly code: DataFileErrorCode,
    message: string,
  ) {
    super(message);
  }
}
