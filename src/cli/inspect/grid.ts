/** The grid of a file at rest, through the storage layer's own readers. */
import { blockSize } from "../../core/limits.ts";
import { StorageEngine } from "../../storage/engine.ts";
import { gridBlocksLimit } from "../../storage/format.ts";
import { IntegrityCheck, type IntegrityReport } from "../../storage/integrity-check.ts";
import { rootDigest, rootIsEmpty } from "../../storage/manifest.ts";
import type { StorageSummary } from "../../storage/options.ts";
import type { DataFileLayout } from "../../wal/data-file.ts";
import type { SuperblockContent } from "../../wal/inspect.ts";
import { type FileAtRest, FileIoAtRest } from "./file-at-rest.ts";

export interface GridContent {
  /** BLAKE3 of the checkpoint's manifest; equal on replicas with equal checkpoints. */
  readonly digest: string | null;
  readonly summary: StorageSummary;
}

function gridOptions(file: FileAtRest, layout: DataFileLayout) {
  return {
    io: new FileIoAtRest(file),
    file: 0,
    gridAt: layout.gridAt,
    gridBlocksMax: gridBlocksLimit - 1,
    cluster: layout.options.cluster,
  };
}

/** The grid's content, or a sentence that says why it cannot be opened. */
export function readGrid(
  file: FileAtRest,
  layout: DataFileLayout,
  superblock: SuperblockContent,
): Promise<GridContent | string> {
  const root = superblock.storageRoot;
  return new Promise((resolve) => {
    const engine = new StorageEngine({
      ...gridOptions(file, layout),
      gridBytes: Math.max(0, file.sizeBytes - layout.gridAt),
      checkpointInterval: layout.options.checkpointInterval,
      // Nothing is appended, kept or copied: the least that the engine takes.
      opRowsMax: 1,
      recentBlocks: 0,
      cacheBytes: 32 * blockSize,
      pageCopyBytes: blockSize,
      allocateWords: (count) => new Uint32Array(count),
      extend: null,
      onDamaged: () => {},
      onFatal: (text) => resolve(text),
    });
    engine.open(root, (error) => {
      if (error !== null) resolve(error);
      else {
        const digest = rootIsEmpty(root) ? null : rootDigest(root, 0);
        resolve({ digest, summary: engine.summary() });
      }
    });
  });
}

export function checkGrid(
  file: FileAtRest,
  layout: DataFileLayout,
  superblock: SuperblockContent,
  onProgress: (done: number, all: number) => void,
): Promise<IntegrityReport> {
  return new Promise((resolve) => {
    const check = new IntegrityCheck(gridOptions(file, layout), superblock.storageRoot);
    check.run(onProgress, resolve);
  });
}
