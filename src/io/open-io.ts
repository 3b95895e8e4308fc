/**
 * Chooses the I/O backend when a process starts. `auto` takes io_uring where addon and kernel have
 * it, and the portable backend elsewhere; what was chosen, and why not the other, is one line for
 * the log.
 */
import type { FileHandle, Io } from "./io.ts";
import { PortableIo } from "./portable/portable-io.ts";
import { createUringIo } from "./uring/uring-io.ts";

export interface IoOptions {
  readonly backend: "auto" | "uring" | "portable";
  /** Who waits: the backend (a server's process) or the application's own loop. */
  readonly drive: "owned" | "guest";
  /**
   * Open files that the kernel may keep at hand, where it can: their descriptors stay open until
   * `stop` has called back.
   */
  readonly files?: readonly FileHandle[];
  /** Let the kernel keep buffers at hand, as far as locked memory goes. Default: no. */
  readonly registeredBuffers?: boolean;
}

/** The backend that was asked for cannot be had on this machine. */
export class IoBackendError extends Error {
  readonly code = "ERR_IO_BACKEND";
  override name = "IoBackendError";
}

/**
 * @returns The backend, not started, and one line for the log.
 * @throws {IoBackendError} `uring` was asked for by name and is not available.
 */
export function openIo(options: IoOptions): { readonly io: Io; readonly note: string } {
  if (options.backend === "portable") {
    return { io: new PortableIo(), note: "I/O backend: portable, as asked for." };
  }
  const { io, reason } = createUringIo(options);
  if (io !== null) return { io, note: "I/O backend: io_uring." };
  if (options.backend === "uring") {
    throw new IoBackendError(
      `The io_uring backend cannot be used: ${reason}. Use the portable one, or 'auto' to choose.`,
    );
  }
  return { io: new PortableIo(), note: `I/O backend: portable, since ${reason}.` };
}
