/**
 * After each freeze, the free set and the references of the checkpoint say the same: what is
 * referred to is in use, by one reference, and what is in use is referred to. A block that nobody refers
 * to is lost for good, and nothing else would show it.
 */
import { BlockRequest } from "../../../src/storage/block-reader.ts";
import type { StorageEngine } from "../../../src/storage/engine.ts";
import { RefCursor, visitAll } from "../../../src/storage/ref-cursor.ts";

const request = new BlockRequest();

/** Null, or what is wrong. To be called between a freeze and the next op. */
export function compareUsedBlocks(storage: StorageEngine): string | null {
  const { state, grid } = storage;
  const { freeSet } = grid;
  const cursor = new RefCursor(state, visitAll);
  const seen = new Set<number>();
  while (cursor.next(request)) {
    const address = request.ref[0]!;
    if (seen.has(address)) return `two references to block ${address}`;
    seen.add(address);
    if (!freeSet.isAcquired(address) || freeSet.isReleased(address)) {
      return `a reference to block ${address}, which is free`;
    }
  }
  const lost = freeSet.acquiredCount - freeSet.releasedCount - seen.size;
  return lost === 0 ? null : `${lost} blocks in use that nothing refers to`;
}
