/**
 * Grows the data file ahead of the grid in large steps, so that durable writes find their space
 * allocated and change no metadata of the file system. Falls back to letting writes extend the
 * file where the addon is missing.
 */
import { Errno } from "../io/io.ts";
import { loadAddon } from "../native/addon.ts";

/** How far the file grows beyond what is asked for. Bytes. */
const stepMax = 256 * 1024 * 1024;

/**
 * @param gridAt - Where the grid starts in the file. Bytes.
 * @param defer - Runs a function later, never from inside the call.
 */
export function gridGrowth(
  fd: number,
  gridAt: number,
  defer: (run: () => void) => void,
): ((gridBytes: number, onDone: (result: number) => void) => void) | null {
  const addon = loadAddon();
  if (addon === null) return null;
  return (gridBytes, onDone) => {
    const step = Math.min(stepMax, gridBytes);
    let result = addon.filePreallocate(fd, gridAt + gridBytes + step);
    // A disk that has no room for the step may have room for what is needed.
    if (result === Errno.noSpace) result = addon.filePreallocate(fd, gridAt + gridBytes);
    defer(() => onDone(result));
  };
}
