/**
 * The I/O seam. Everything above it (journal, grid, message bus, replica) does file and socket I/O
 * through `Io` and reads time through `Time`; backends are `uring` (Linux), `portable` (node:fs
 * and node:net) and the simulator's. One conformance suite holds them equal.
 *
 * Rules that every backend keeps:
 * - A call starts one operation and returns; its `Completion` is called back later, from the
 *   backend's loop turn, never from inside the call that started it.
 * - The backend owns the buffer range and the completion until the callback runs.
 * - Nothing is freed or reused before its completion was reaped, also on cancel and on close.
 * - Short reads and writes of files are resumed by the backend: a file operation completes with
 *   the whole length or with an error. Reading past the end of a file is an error (`-EIO`).
 * - Errors are negative errno values in `result`, as in the kernel's completions.
 * - A handle that is not open ends the operation with −EBADF. A range outside of its buffer, an
 *   empty range, and a busy completion are bugs of the caller's, and asserted.
 * - Per socket one receive and one send are in flight at most, per listener 64 accepts.
 * - A file whose sync failed is not trusted again: the kernel may have dropped what it could not
 *   write. Its writes and syncs end with that error for as long as the backend lives.
 */

/** One operation in flight. Made once by its owner and used again and again. */
export class Completion {
  /** Bytes moved, a handle, or 0; a negative errno is a failure. Valid inside `onDone`. */
  result = 0;
  /** True from the start of the operation until just before `onDone`. Kept by the backend. */
  busy = false;
  /** For the backend's bookkeeping alone. */
  slot = -1;

  /**
   * @param onDone - Called when the operation has ended. May start the next one with the same
   *   completion.
   * @param tag - For the owner: which of its operations this is.
   */
  constructor(
    readonly onDone: (completion: Completion) => void,
    public tag = 0,
  ) {}
}

/** Page-aligned memory that files may read into and write from with Direct I/O. */
export interface IoBuffer {
  readonly sizeBytes: number;
  readonly bytes: Uint8Array;
  /** The same memory as 32-bit words. */
  readonly words: Uint32Array;
  /** For the backend. */
  readonly id: number;
}

/**
 * A file opened for I/O: a file descriptor (the simulator has its own numbers). Its owner opened it
 * (native/files.ts) and closes it, when no operation on it is in flight.
 */
export type FileHandle = number;
/** A socket or listener. The backend's own numbers, 0 and above. */
export type SocketHandle = number;

/** The data-file side of a backend: all that journal, superblock and grid may use. */
export interface FileIo {
  /** Page-aligned zeroed memory, a multiple of 4 bytes. For start-up: never on the hot path. */
  allocate(sizeBytes: number): IoBuffer;
  /**
   * Offsets and length are multiples of the sector size; with Direct I/O the kernel refuses others
   * (−EINVAL).
   */
  read(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void;
  /**
   * @param durable - Complete only when the data has reached stable storage, as after fdatasync
   *   (RWF_DSYNC). Otherwise a later `sync` makes it so.
   */
  write(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void;
  /** Makes all writes that completed before it durable (fdatasync). */
  sync(completion: Completion, file: FileHandle): void;
}

/** The network side of a backend. */
export interface SocketIo {
  /**
   * Starts listening; synchronous, for start-up. Port 0 picks a free one.
   * @param host - A numeric IPv4 or IPv6 address: names are looked up by the caller.
   * @throws {Error} with an errno `code` such as EADDRINUSE.
   */
  listen(host: string, port: number): { readonly listener: SocketHandle; readonly port: number };
  /** Completes with the handle of an accepted connection (TCP_NODELAY and keepalive set). */
  accept(completion: Completion, listener: SocketHandle): void;
  /** Completes with the handle of a connected socket. `host` is numeric: else −EINVAL. */
  connect(completion: Completion, host: string, port: number): void;
  /**
   * Completes with 1…length bytes, or 0 at end of stream; with `whole`, completes only when
   * `length` bytes have arrived (or with fewer when the stream ended: 0…length−1).
   */
  receive(
    completion: Completion,
    socket: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    whole: boolean,
  ): void;
  /** Completes with `length` once all bytes are handed to the kernel, or with an error. */
  send(
    completion: Completion,
    socket: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
  ): void;
  /**
   * Ends the socket or listener: operations in flight on it complete first (with −ECANCELED or
   * what they got), then this one, and only then may the handle be given out again.
   */
  closeSocket(completion: Completion, socket: SocketHandle): void;
}

export interface TimerIo {
  /** Completes with 0 after `milliseconds` (0 is the next turn). */
  timeout(completion: Completion, milliseconds: number): void;
}

/** What the kernel keeps at hand for a backend. Where it keeps nothing, all works as well. */
export interface IoRegistered {
  files: number;
  /** Why it does not keep a file, or null. */
  filesRefusal: string | null;
  buffers: number;
  bufferBytes: number;
  /** Why it does not keep a buffer that it should, or null. */
  buffersRefusal: string | null;
}

/**
 * Counters since start; of operations, those that succeeded. A user tunes by them, so every backend
 * keeps them.
 */
export interface IoStats {
  readonly backend: string;
  reads: number;
  readBytes: number;
  writes: number;
  writeBytes: number;
  syncs: number;
  receives: number;
  receiveBytes: number;
  sends: number;
  sendBytes: number;
  accepts: number;
  connects: number;
  /** Calls into the kernel made by the backend itself. */
  systemCalls: number;
  /** Operations in flight now, and at most. */
  inFlight: number;
  inFlightMax: number;
  /** Durations of file writes: count per power of two of microseconds (index 0: below 1 µs). */
  readonly writeLatencyLog2Us: Float64Array;
  /** Absent where the backend has no such thing. */
  readonly registered?: IoRegistered;
}

export interface Io extends FileIo, SocketIo, TimerIo {
  readonly name: "uring" | "portable" | "simulated";
  readonly stats: IoStats;
  /**
   * Begins driving completions until `stop`. `onTurn` runs once per loop turn after the
   * completions of that turn, so that callers can flush what the turn gathered.
   * Owned drive waits inside the ring; guest drive leaves the wait to the application's loop.
   */
  start(onTurn: () => void): void;
  /**
   * Cancels and reaps what is in flight, closes its sockets, then calls back; after it the backend
   * is unusable. Operations in flight end with −ECANCELED or with what they came to; those that
   * are started meanwhile end with −ECANCELED.
   */
  stop(onStopped: () => void): void;
}

/** Clocks, injected so that the simulator can own them. */
export interface Time {
  /** Nanoseconds since an arbitrary start, as (low, high) words in target[at], target[at + 1]. */
  monotonicNs(target: Uint32Array, at: number): void;
  /** Nanoseconds since the Unix epoch, as (low, high) words. May jump. */
  wallNs(target: Uint32Array, at: number): void;
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number;
}

/** errno values that callers tell apart (Linux numbers, used by every backend). */
export const Errno = {
  io: -5,
  again: -11,
  invalid: -22,
  noSpace: -28,
  pipe: -32,
  canceled: -125,
  connectionReset: -104,
  connectionRefused: -111,
  addressInUse: -98,
} as const;
