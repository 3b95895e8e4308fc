/**
 * Page-aligned memory: what Direct I/O reads into and writes from. The addon maps pages for each
 * buffer. Without it they come from `WebAssembly.Memory`, the one allocator of JavaScript's that
 * promises alignment: each memory reserves gigabytes of address space, so buffers are cut from
 * large ones, one behind the other; a region is collected once no buffer of it is in use.
 *
 * Memory is zeroed. It is for start-up: nothing is ever given back early.
 */
import { constants } from "node:buffer";
import { assert } from "../core/assert.ts";
import { loadAddon } from "./addon.ts";
import { nativeLayout } from "./layout.ts";

export interface PageMemory {
  readonly sizeBytes: number;
  readonly bytes: Uint8Array;
  /** The same memory as 32-bit words. */
  readonly words: Uint32Array;
  /** Names the memory to the addon; −1 for memory that the addon does not know. */
  readonly id: number;
}

/** The memory cannot be had: the system or the runtime refuses it. */
export class MemoryError extends Error {
  readonly code = "ERR_NO_MEMORY";
  override name = "MemoryError";
}

/** As much as is used here of a global whose types come with browsers'. */
declare const WebAssembly: {
  readonly Memory: new (size: { initial: number; maximum: number }) => { buffer: ArrayBuffer };
};

const pageSize = nativeLayout.pageSize;
const wasmPageSize = 65_536;
const wasmPagesMax = 65_536;
/** The runtime's longest array; Node.js 20 ends at 4 GiB. Bytes. */
const arraySizeMax = constants.MAX_LENGTH;
/** Large enough for hundreds of messages, small against a machine's memory. Bytes. */
const regionSize = 64 * 1024 * 1024;

let region: ArrayBuffer | null = null;
let regionUsed = 0;

/** Page-aligned zeroed memory of `sizeBytes`, a multiple of 4. @throws {MemoryError} */
export function allocatePages(sizeBytes: number): PageMemory {
  return allocate(sizeBytes, false);
}

/**
 * For large tables: pages are committed as they are touched, and huge pages are advised where the
 * addon is there to do it. @throws {MemoryError}
 */
export function allocateLarge(sizeBytes: number): PageMemory {
  return allocate(sizeBytes, true);
}

/**
 * Has the kernel commit these pages before they are used, in another thread, and calls back when it
 * has: a page that is used first may take milliseconds where a hypervisor has to find memory for it.
 * Does nothing, and never calls back, without the addon.
 */
export function commitPages(
  memory: PageMemory,
  at: number,
  sizeBytes: number,
  onDone: () => void,
): void {
  assert(at + sizeBytes <= memory.sizeBytes, "the pages lie in the memory");
  if (memory.id >= 0) loadAddon()?.touch(memory.id, at, sizeBytes, onDone);
}

function allocate(sizeBytes: number, large: boolean): PageMemory {
  assert(Number.isSafeInteger(sizeBytes) && sizeBytes > 0, "memory has a size");
  assert(sizeBytes % 4 === 0, "memory is whole words");
  if (sizeBytes > arraySizeMax) {
    throw new MemoryError(
      `${sizeBytes} bytes are wanted in one piece, and Node.js ${process.versions.node} has ` +
        `${arraySizeMax} at most`,
    );
  }
  const native = loadAddon()?.allocate(sizeBytes, large) ?? null;
  if (native !== null) return view(native.memory, 0, sizeBytes, native.id);
  return allocatePortable(sizeBytes);
}

/** The way without the addon; exported for tests. */
export function allocatePortable(sizeBytes: number): PageMemory {
  const rounded = Math.ceil(sizeBytes / pageSize) * pageSize;
  // Untouched pages of a memory of its own are never committed.
  if (rounded > regionSize / 4) return view(wasmMemory(rounded), 0, sizeBytes, -1);
  if (region === null || region.byteLength - regionUsed < rounded) {
    region = wasmMemory(regionSize);
    regionUsed = 0;
  }
  const memory = view(region, regionUsed, sizeBytes, -1);
  regionUsed += rounded;
  return memory;
}

function wasmMemory(sizeBytes: number): ArrayBuffer {
  const pages = Math.ceil(sizeBytes / wasmPageSize);
  if (pages > wasmPagesMax) {
    throw new MemoryError(
      `${sizeBytes} bytes are wanted in one piece; the addon gives none, and without it there are ` +
        `${wasmPagesMax * wasmPageSize} at most`,
    );
  }
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer;
  } catch {
    throw new MemoryError(`the system has no ${sizeBytes} bytes of memory to give`);
  }
}

function view(memory: ArrayBuffer, at: number, sizeBytes: number, id: number): PageMemory {
  return {
    sizeBytes,
    bytes: new Uint8Array(memory, at, sizeBytes),
    words: new Uint32Array(memory, at, sizeBytes / 4),
    id,
  };
}
