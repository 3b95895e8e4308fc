/**
 * Opening and creating the data file: Direct I/O, exclusive lock, preallocation. Everything here
 * is synchronous and for start-up; reads and writes go through the I/O backends.
 *
 * Creation ends with fsync of the file and of its directory, so that a file that was reported as
 * created survives a power cut; a creation that fails leaves nothing behind.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { getSystemErrorName } from "node:util";
import { assert } from "../core/assert.ts";
import { DataFileError, DataFileErrorCode } from "../core/data-file-error.ts";
import { sectorSize } from "../core/limits.ts";
import { loadAddon, type NativeAddon } from "./addon.ts";
import {
  acquireLockFile,
  holderRuns,
  type LockHolder,
  readLockFile,
  releaseLockFile,
} from "./lock-file.ts";
import { allocatePages } from "./memory.ts";

export interface DataFile {
  readonly path: string;
  readonly fd: number;
  readonly sizeBytes: number;
  readonly directIo: boolean;
  readonly readOnly: boolean;
}

/** A range of the file. Bytes; multiples of the sector size. */
export interface FileRange {
  readonly at: number;
  readonly length: number;
}

export interface DataFileOptions {
  /** Bypass the page cache. Where the file system cannot, opening fails: `ERR_NO_DIRECT_IO`. */
  readonly directIo: boolean;
  /** Neither locked nor changed: for inspection, also of a running replica's file. */
  readonly readOnly?: boolean;
  /** Create the file, which must not exist. A block device must exist and be large enough. */
  readonly create?: {
    readonly sizeBytes: number;
    /**
     * Written with zeros: the zones of the journal, whose first write would otherwise pay for
     * the file system's bookkeeping of merely allocated space.
     */
    readonly zeroed?: readonly FileRange[];
  };
}

/** For how long a lock is awaited that no running process is known to hold: 2 s in all. */
const lockAttemptsMax = 200;
const lockPauseMs = 10;
const wouldBlock = -11;
/** Nobody ever wakes it: waiting on it is sleeping. */
const sleepWord = new Int32Array(new SharedArrayBuffer(4));

/** @throws {DataFileError} */
export function openDataFile(path: string, options: DataFileOptions): DataFile {
  const readOnly = options.readOnly ?? false;
  assert(!(readOnly && options.create !== undefined), "a created file is written");
  const device = isBlockDevice(path);
  const creates = options.create !== undefined && !device;
  const fd = open(path, options.directIo, readOnly, creates);
  let locked = false;
  try {
    if (!readOnly) {
      lock(path, fd);
      locked = true;
    }
    if (options.create !== undefined) create(path, fd, options.create, device);
    const sizeBytes = size(path, fd);
    if (options.directIo) {
      probeDirect(path, fd);
      // What formatted, copied or inspected the file may have gone through the page cache, where it
      // would stand in the way of every first direct write. Advice: refused, it costs speed alone.
      loadAddon()?.fileDropCached(fd);
    }
    return { path, fd, sizeBytes, directIo: options.directIo, readOnly };
  } catch (error) {
    if (creates) rmSync(path, { force: true });
    if (locked) releaseLockFile(lockPath(path));
    closeSync(fd);
    throw error;
  }
}

/** Releases the lock and closes. No I/O on the file may be in flight. */
export function closeDataFile(file: DataFile): void {
  if (!file.readOnly) {
    releaseLockFile(lockPath(file.path));
    loadAddon()?.fileUnlock(file.fd);
  }
  closeSync(file.fd);
}

function lockPath(path: string): string {
  return `${path}.lock`;
}

function isBlockDevice(path: string): boolean {
  return statusOf(path)?.isBlockDevice() ?? false;
}

/** Null when there is none to be had: opening the file then fails, and says why. */
function statusOf(path: string): Stats | null {
  try {
    return statSync(path);
  } catch {
    return null;
  }
}

function open(path: string, directIo: boolean, readOnly: boolean, creates: boolean): number {
  const direct: number | undefined = constants.O_DIRECT;
  if (directIo && direct === undefined) {
    throw new DataFileError(
      DataFileErrorCode.noDirectIo,
      `This platform has no Direct I/O; ${directIoAdvice}`,
    );
  }
  const flags =
    (readOnly ? constants.O_RDONLY : constants.O_RDWR) |
    (creates ? constants.O_CREAT | constants.O_EXCL : 0);
  try {
    return openSync(path, flags | (directIo ? direct : 0), 0o600);
  } catch (error) {
    const code = codeOf(error);
    if (creates && (code === "ENOENT" || code === "ENOTDIR")) throw noFolder(path);
    if (code !== "EINVAL" || !directIo) throw fileError(path, code);
    // The file may have been created before O_DIRECT was refused.
    if (creates) rmSync(path, { force: true });
    // Files that are none (/dev/null) refuse it as well.
    throw (statusOf(path)?.isFile() ?? true) ? noDirectIo(path) : wrongKind(path);
  }
}

/**
 * Takes the kernel's lock: 0 or a negative errno. After a process was killed the kernel holds on to
 * its files, and so to their locks, until the last operation of its ring has ended; a killed
 * replica that is started again at once waits for that. It must: writes of its predecessor's may
 * be under way.
 */
function lockByKernel(addon: NativeAddon, path: string, fd: number): number {
  for (let attempt = 1; ; attempt += 1) {
    const result = addon.fileLock(fd);
    if (result !== wouldBlock || attempt === lockAttemptsMax) return result;
    if (holderRuns(lockPath(path))) return result;
    Atomics.wait(sleepWord, 0, 0, lockPauseMs);
  }
}

function lock(path: string, fd: number): void {
  const addon = loadAddon();
  const result = addon === null ? 0 : lockByKernel(addon, path, fd);
  if (result < 0) {
    const code = getSystemErrorName(result);
    // Some network file systems have no such lock; the lock file remains.
    if (code === "EAGAIN") {
      throw fileInUse(path, readLockFile(lockPath(path))?.pid ?? null);
    }
    if (code !== "ENOLCK" && code !== "ENOTSUP" && code !== "EOPNOTSUPP" && code !== "ENOSYS") {
      throw fileError(path, code);
    }
  }
  let holder: LockHolder | null;
  try {
    holder = acquireLockFile(lockPath(path), addon !== null && result === 0);
  } catch (error) {
    throw fileError(lockPath(path), codeOf(error));
  }
  if (holder !== null) throw lockedByFile(path, holder);
}

function create(
  path: string,
  fd: number,
  wanted: NonNullable<DataFileOptions["create"]>,
  device: boolean,
): void {
  const { sizeBytes, zeroed = [] } = wanted;
  assert(sizeBytes > 0 && sizeBytes % sectorSize === 0, "a data file is whole sectors");
  for (const range of zeroed) {
    assert(range.at % sectorSize === 0 && range.length % sectorSize === 0, "zones are sectors");
    assert(range.at + range.length <= sizeBytes, "zones lie inside the file");
  }
  try {
    if (device) {
      const found = size(path, fd);
      if (found < sizeBytes) {
        throw new DataFileError(
          DataFileErrorCode.size,
          `'${path}' has ${found} bytes, but ${sizeBytes} are needed; give a larger device.`,
        );
      }
      for (const range of zeroed) writeZeros(fd, range);
    } else if (preallocate(path, fd, sizeBytes)) {
      for (const range of zeroed) writeZeros(fd, range);
    } else {
      // No other way to reserve the space: every sector is written.
      ftruncateSync(fd, sizeBytes);
      writeZeros(fd, { at: 0, length: sizeBytes });
    }
    fsyncSync(fd);
    if (!device) syncDirectory(dirname(path));
  } catch (error) {
    throw error instanceof DataFileError ? error : fileError(path, codeOf(error));
  }
}

/** True when the file has its size and its blocks; false when this system cannot preallocate. */
function preallocate(path: string, fd: number, sizeBytes: number): boolean {
  const result = loadAddon()?.filePreallocate(fd, sizeBytes);
  if (result === undefined) return false;
  if (result === 0) return true;
  const code = getSystemErrorName(result);
  if (code === "EOPNOTSUPP" || code === "ENOTSUP" || code === "ENOSYS") return false;
  throw fileError(path, code);
}

function writeZeros(fd: number, range: FileRange): void {
  const zeros = allocatePages(1024 * 1024).bytes;
  const end = range.at + range.length;
  for (let at = range.at; at < end; ) {
    at += writeSync(fd, zeros, 0, Math.min(zeros.length, end - at), at);
  }
}

function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function size(path: string, fd: number): number {
  const addon = loadAddon();
  if (addon !== null) {
    const result = addon.fileSize(fd);
    if (result >= 0) return result;
    const code = getSystemErrorName(result);
    throw code === "EINVAL" ? wrongKind(path) : fileError(path, code);
  }
  const status = fstatSync(fd);
  if (status.isDirectory()) throw fileError(path, "EISDIR");
  if (status.isFile()) return status.size;
  if (!status.isBlockDevice()) throw wrongKind(path);
  throw new DataFileError(
    DataFileErrorCode.kind,
    `'${path}' is a block device, which needs the native addon; build that, or give a file.`,
  );
}

/** A file system may accept the flag and refuse the reads. */
function probeDirect(path: string, fd: number): void {
  const addon = loadAddon();
  if (addon !== null) {
    const result = addon.fileProbeDirect(fd);
    if (result === 0) return;
    const code = getSystemErrorName(result);
    throw code === "EINVAL" ? noDirectIo(path) : fileError(path, code);
  }
  try {
    readSync(fd, allocatePages(sectorSize).bytes, 0, sectorSize, 0);
  } catch (error) {
    const code = codeOf(error);
    throw code === "EINVAL" ? noDirectIo(path) : fileError(path, code);
  }
}

function codeOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (typeof code !== "string") throw error; // No error of the system's: a bug.
  return code;
}

const directIoAdvice = "use --direct-io=off to run through the page cache.";

function noDirectIo(path: string): DataFileError {
  return new DataFileError(
    DataFileErrorCode.noDirectIo,
    `The file system of '${path}' has no Direct I/O; ${directIoAdvice}`,
  );
}

function wrongKind(path: string): DataFileError {
  return new DataFileError(
    DataFileErrorCode.kind,
    `'${path}' is neither a regular file nor a block device; give the path of a data file.`,
  );
}

function noFolder(path: string): DataFileError {
  return new DataFileError(
    DataFileErrorCode.missing,
    `'${path}' cannot be made: its folder does not exist, or takes no files.`,
  );
}

/** @param pid - Null: the process is not known. */
export function fileInUse(path: string, pid: number | null): DataFileError {
  const who = pid === null ? "another process" : `process ${pid}`;
  return new DataFileError(
    DataFileErrorCode.locked,
    `'${path}' is in use by ${who}; a data file serves one process at a time: stop that one first.`,
  );
}

/** The kernel could not be asked, so the holder may be gone: only a person can tell. */
function lockedByFile(path: string, holder: LockHolder): DataFileError {
  const who = holder.pid === 0 ? "an unknown process" : `process ${holder.pid}`;
  const where = holder.container === "-" ? "" : ` (of process namespace ${holder.container})`;
  return new DataFileError(
    DataFileErrorCode.locked,
    `'${path}' is in use by ${who}${where}; stop that one first or, when it has ended for certain, ` +
      `remove '${lockPath(path)}'.`,
  );
}

/** A decision for every errno that these calls are documented to give. */
function fileError(path: string, code: string): DataFileError {
  const make = (stable: DataFileErrorCode, message: string): DataFileError =>
    new DataFileError(stable, message);
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return make(
        DataFileErrorCode.missing,
        `'${path}' does not exist; check the path, or make the file: with 'pacioli format' for a new ` +
          "cluster, with 'pacioli recover' in the place of one that a cluster has lost.",
      );
    case "EEXIST":
      return make(
        DataFileErrorCode.exists,
        `'${path}' exists already; give the name of a new file.`,
      );
    case "EISDIR":
      return make(
        DataFileErrorCode.isDirectory,
        `'${path}' is a folder; give the path of a data file.`,
      );
    case "EACCES":
    case "EPERM":
      return make(
        DataFileErrorCode.permission,
        `This user may not open or create '${path}'; it must be allowed to read and write the ` +
          "file, and to write its folder.",
      );
    case "EROFS":
      return make(
        DataFileErrorCode.permission,
        `'${path}' lies on a file system that is mounted read-only; choose another, or mount it for ` +
          "writing.",
      );
    case "ENOSPC":
    case "EDQUOT":
      return make(
        DataFileErrorCode.noSpace,
        `There is not enough space for '${path}'; free some, or choose another disk.`,
      );
    case "EFBIG":
      return make(
        DataFileErrorCode.size,
        `'${path}' would be larger than the file system, or a limit of this process ` +
          "('ulimit -f'), allows.",
      );
    case "EMFILE":
    case "ENFILE":
      return make(
        DataFileErrorCode.filesMax,
        `Too many files are open to open '${path}'; raise the limit ('ulimit -n').`,
      );
    case "EBUSY":
    case "ETXTBSY":
      return make(
        DataFileErrorCode.locked,
        `'${path}' is in use by the system, mounted perhaps; give the path of a data file.`,
      );
    case "ENAMETOOLONG":
    case "ELOOP":
      return make(
        DataFileErrorCode.missing,
        `'${path}' is too long a path, or links that lead nowhere; check it.`,
      );
    default:
      return make(
        DataFileErrorCode.io,
        `'${path}' cannot be used: ${code}; the system's log may say more.`,
      );
  }
}
