/**
 * Chooses the I/O backend when a process starts. `auto` takes io_uring where addon and kernel have
 * it, and the portable backend elsewhere; what was chosen, and why not the other, is one line for
 * the log.
 */
import type { Io } from "./io.ts";
import { PortableIo } from "./portable/portable-io.ts";

export interface IoOptions {
  readonly backend: "auto" | "uring" | "portable";
  /** Who waits: the backend (a server's process) or the application's own loop. */
  readonly drive: "owned" | "guest";
}

/** The backend that was asked for cannot be had on this machine. */
export class IoBackendError extends Error {
  readonly code = "ERR_IO_BACKEND";
  override name = "IoBackendError";
}

/** @throws {IoBackendError} `uring` was asked for by name and is not available. */
export function openIo(options: IoOptions): { readonly io: Io; readonly note: string } {
  if (options.backend === "uring") {
    throw new IoBackendError("io_uring is not available: this version has no such backend");
  }
  return { io: new PortableIo(), note: "I/O backend: portable (node:fs and node:net)" };
}
