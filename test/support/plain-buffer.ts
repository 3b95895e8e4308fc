/** Plain memory in the shape of an IoBuffer, for tests that do no Direct I/O. */
import type { IoBuffer } from "../../src/io/io.ts";

let nextId = 1;

export function plainBuffer(sizeBytes: number): IoBuffer {
  const bytes = new Uint8Array(sizeBytes);
  nextId += 1;
  return { sizeBytes, bytes, words: new Uint32Array(bytes.buffer), id: nextId };
}
