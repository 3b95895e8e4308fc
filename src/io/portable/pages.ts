/**
 * Page-aligned memory without an addon: the memory of a WebAssembly.Memory starts on a page, zeroed.
 * Each one reserves gigabytes of addresses, so buffers are cut from shared slabs. Nothing is given
 * back: buffers are made at start and live as long as the process's use of them.
 */
import { assert } from "../../core/assert.ts";
import { sectorSize } from "../../core/limits.ts";
import type { IoBuffer } from "../io.ts";

// The compiler's types for it come with those of browsers, which have no place in this project.
interface WebAssemblyNamespace {
  readonly Memory: new (size: {
    initial: number;
    maximum: number;
  }) => { readonly buffer: ArrayBuffer };
}
const { Memory } = (globalThis as unknown as { WebAssembly: WebAssemblyNamespace }).WebAssembly;

const wasmPageSize = 64 * 1024;
/** The next slab is twice as large as the one before, within these bounds. */
const slabSizeFirst = 16 * 1024 * 1024;
const slabSizeLast = 1024 * 1024 * 1024;
const memorySizeMax = 65_536 * wasmPageSize;

export class PageAllocator {
  private slab: ArrayBuffer = new ArrayBuffer(0);
  private used = 0;
  private slabSize = slabSizeFirst;
  private count = 0;

  allocate(sizeBytes: number): IoBuffer {
    assert(Number.isInteger(sizeBytes), "a size is an integer");
    assert(sizeBytes > 0, "a buffer holds something");
    const rounded = Math.ceil(sizeBytes / sectorSize) * sectorSize;
    assert(rounded <= memorySizeMax, "a buffer is within the limit of a memory");
    if (this.used + rounded > this.slab.byteLength) {
      const pages = Math.ceil(Math.max(rounded, this.slabSize) / wasmPageSize);
      this.slab = new Memory({ initial: pages, maximum: pages }).buffer;
      this.used = 0;
      this.slabSize = Math.min(this.slabSize * 2, slabSizeLast);
    }
    const at = this.used;
    this.used += rounded;
    const id = this.count;
    this.count += 1;
    return {
      id,
      sizeBytes,
      bytes: new Uint8Array(this.slab, at, sizeBytes),
      words: new Uint32Array(this.slab, at, Math.floor(sizeBytes / 4)),
    };
  }
}
