/**
 * Freshly formatted disks. Formatting writes tens of megabytes, nearly all zeros, and is the same
 * for every replica that is formatted alike: it is done once per process by the code that the
 * command runs, on a disk of its own outside of any seed's time, and copied from then on.
 */
import type { Completion } from "../../src/io/io.ts";
import type { FormatOptions } from "../../src/wal/data-file.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { formatDataFile } from "../../src/wal/format.ts";
import { ownRelease } from "../../src/wire/release.ts";
import { DiskIo, SimulatedDisk } from "./disk.ts";
import { EventQueue } from "./event-queue.ts";
import { PlaceMemory, SharedMemory } from "./memory.ts";
import type { SectorPool } from "./sector-pool.ts";
import { Stream, stream } from "./streams.ts";

/** Sectors that are not zeros: number and content, in turns. */
export type DiskImage = readonly number[];

/** Every seed of a process uses it: the images would differ otherwise. */
export const simulatedCluster = new Uint32Array([0x5eed, 0x51ab, 0, 1]);

const images = new Map<string, DiskImage>();

export function formattedImage(pool: SectorPool, format: FormatOptions): DiskImage {
  const key = JSON.stringify({ ...format, cluster: [] });
  let image = images.get(key);
  if (image === undefined) {
    image = formatOnce(pool, format);
    images.set(key, image);
  }
  return image;
}

function formatOnce(pool: SectorPool, format: FormatOptions): DiskImage {
  const queue = new EventQueue();
  const fail = (reason: string): never => {
    throw new Error(`formatting failed: ${reason}`);
  };
  const host = {
    complete: (completion: Completion) => {
      completion.busy = false;
      completion.onDone(completion);
    },
    mayTear: () => true,
    onRewritten: () => {},
    fail,
  };
  const { gridAt } = new DataFileLayout(format);
  const disk = new SimulatedDisk(queue, pool, stream(0n, Stream.disk), host, gridAt);
  const io = new DiskIo(disk, new PlaceMemory(new SharedMemory()));
  let done = false;
  formatDataFile(io, 0, format, ownRelease, (error) => {
    if (error !== null) fail(error.message);
    done = true;
  });
  while (queue.runNext()) {
    // Until nothing is in flight.
  }
  if (!done) fail("it has not ended");
  const image: number[] = [];
  for (let sector = 0; sector < disk.sectorsMax; sector += 1) {
    const content = disk.content(sector);
    if (content !== 0) image.push(sector, pool.ref(content));
  }
  disk.release();
  return image;
}
