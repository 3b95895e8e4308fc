/**
 * Freshly formatted disks. Formatting writes tens of megabytes, nearly all zeros, and is the same
 * for every replica that is formatted alike: it is done once per process by the code that the
 * command runs, outside of any seed's time, and copied from then on.
 */
import { assert } from "../../src/core/assert.ts";
import { sectorSize } from "../../src/core/limits.ts";
import type { Completion, FileHandle, FileIo, IoBuffer } from "../../src/io/io.ts";
import type { FormatOptions } from "../../src/wal/data-file.ts";
import { formatDataFile } from "../../src/wal/format.ts";
import { ownRelease } from "../../src/wire/release.ts";
import { PlaceMemory, SharedMemory } from "./memory.ts";
import type { SectorPool } from "./sector-pool.ts";

/** Sectors that are not zeros: number and content, in turns. */
export type DiskImage = readonly number[];

/** Every seed of a process uses it: the images would differ otherwise. */
export const simulatedCluster = new Uint32Array([0x5eed, 0x51ab, 0, 1]);

const images = new Map<string, DiskImage>();
const memory = new SharedMemory();

/** @param recovering - In place of a file that was lost: `pacioli recover`. */
export function formattedImage(
  pool: SectorPool,
  format: FormatOptions,
  recovering: boolean,
): DiskImage {
  const key = JSON.stringify({ ...format, cluster: [], recovering });
  let image = images.get(key);
  if (image === undefined) {
    image = formatOnce(pool, format, recovering);
    images.set(key, image);
  }
  return image;
}

function formatOnce(pool: SectorPool, format: FormatOptions, recovering: boolean): DiskImage {
  const place = new PlaceMemory(memory, 0);
  const io = new FormatIo(pool, place);
  let done = false;
  const onDone = (error: Error | null): void => {
    if (error !== null) throw new Error(`formatting failed: ${error.message}`);
    done = true;
  };
  formatDataFile(io, 0, format, ownRelease, onDone, recovering);
  io.finish();
  assert(done, "formatting ends");
  place.release();
  return [...io.sectors].sort(([a], [b]) => a - b).flat();
}

/** A disk that does at once what it is asked and only keeps what is not zeros. */
class FormatIo implements FileIo {
  readonly sectors = new Map<number, number>();
  private readonly ended: Completion[] = [];

  constructor(
    private readonly pool: SectorPool,
    private readonly memory: PlaceMemory,
  ) {}

  allocate(sizeBytes: number): IoBuffer {
    return this.memory.allocate(sizeBytes);
  }

  read(): void {
    assert(false, "formatting reads nothing");
  }

  write(
    completion: Completion,
    _file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    for (let at = 0; at < length; at += sectorSize) {
      const content = this.pool.store(buffer.words, (bufferAt + at) / 4);
      const sector = (fileAt + at) / sectorSize;
      this.pool.unref(this.sectors.get(sector) ?? 0);
      if (content === 0) this.sectors.delete(sector);
      else this.sectors.set(sector, content);
    }
    this.end(completion, length);
  }

  sync(completion: Completion): void {
    this.end(completion, 0);
  }

  private end(completion: Completion, result: number): void {
    completion.busy = true;
    completion.result = result;
    this.ended.push(completion);
  }

  /** Calls back what has ended, until nothing is started any more. */
  finish(): void {
    for (;;) {
      const completion = this.ended.shift();
      if (completion === undefined) return;
      completion.busy = false;
      completion.onDone(completion);
    }
  }
}
