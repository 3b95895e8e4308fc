/** The grid of a file at rest, through the storage layer's own readers. */
import { TrailerIndex } from "../../consensus/checkpointer.ts";
import { ClientSessions } from "../../consensus/client-sessions.ts";
import { blockSize, replySlotSize } from "../../core/limits.ts";
import { BlockReader } from "../../storage/block-reader.ts";
import { CheckpointReader } from "../../storage/checkpoint-reader.ts";
import { CheckpointState } from "../../storage/checkpoint-state.ts";
import { StorageEngine } from "../../storage/engine.ts";
import { gridBlocksLimit } from "../../storage/format.ts";
import { Grid } from "../../storage/grid.ts";
import { IntegrityCheck, type IntegrityReport } from "../../storage/integrity-check.ts";
import { rootDigest, rootIsEmpty } from "../../storage/manifest.ts";
import type { StorageSummary } from "../../storage/options.ts";
import { RefList } from "../../storage/ref-list.ts";
import { IndexesState } from "../../storage/runs/index-state.ts";
import { runConstantsDefault } from "../../storage/runs/options.ts";
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
    runs: { barOps: layout.options.barOps },
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

/** The sessions of the checkpoint; null when they cannot be read. */
export function readSessions(
  file: FileAtRest,
  layout: DataFileLayout,
  superblock: SuperblockContent,
): Promise<ClientSessions | null> {
  const { clientsMax } = layout.options;
  const options = gridOptions(file, layout);
  const memory = options.io.allocate(clientsMax * replySlotSize);
  const sessions = new ClientSessions(clientsMax, memory);
  const root = superblock.storageRoot;
  if (rootIsEmpty(root)) return Promise.resolve(sessions);
  const grid = new Grid({ ...options, gridBytes: 0, extend: null, onFatal: () => {} });
  const lists = new Map<number, RefList>();
  const state = new CheckpointState(
    (id) => {
      const list = lists.get(id) ?? new RefList();
      lists.set(id, list);
      return list;
    },
    new IndexesState({ ...runConstantsDefault, ...options.runs }),
  );
  const reader = new BlockReader(grid, grid.staging, null);
  const skeleton = new CheckpointReader(reader, state, grid.freeSet, () => {});
  return new Promise((resolve) => {
    skeleton.read(root, () => {
      const trailer = state.trailers[TrailerIndex.sessions]!;
      const whole = skeleton.chainsRead && state.trailerCount > TrailerIndex.sessions;
      const readable = whole && sessions.restore(trailer.words, trailer.length / 4);
      resolve(readable ? sessions : null);
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
