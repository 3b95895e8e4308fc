/**
 * Rot in the data file of a stopped replica, of kinds that the rest of its cluster can repair: bits
 * flipped in prepares, redundant headers, kept replies, grid blocks, or in one copy of the superblock.
 *
 * What a file of a cluster cannot survive is left alone: both copies of a header, and a prepare whose
 * header had not landed (docs/internals/data-file.md names that double fault), for which reason only
 * intact files are damaged.
 */
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { inspectFile } from "../../src/cli/inspect/inspect.ts";
import { blockSize, headerSize } from "../../src/core/limits.ts";
import type { Prng } from "../../src/core/prng.ts";
import { DataFileLayout, superblockCopies, superblockCopySize } from "../../src/wal/data-file.ts";
import {
  type Damage,
  type FileReader,
  inspectJournal,
  inspectReplies,
  inspectSuperblock,
  type SlotSummary,
} from "../../src/wal/inspect.ts";

export type RotKind = "prepares" | "headers" | "replies" | "blocks" | "superblock";

export interface Rot {
  readonly kind: RotKind;
  /** Bits that were flipped. */
  readonly flips: number;
  /** Places that an inspection names afterwards. */
  readonly places: readonly string[];
}

interface Flip {
  readonly at: number;
  readonly mask: number;
}

class OpenFile implements FileReader {
  readonly fd: number;

  constructor(path: string) {
    this.fd = openSync(path, "r+");
  }

  get sizeBytes(): number {
    return fstatSync(this.fd).size;
  }

  read(target: Uint8Array, length: number, fileAt: number): boolean {
    return readSync(this.fd, target, 0, length, fileAt) === length;
  }

  flip({ at, mask }: Flip): void {
    const byte = new Uint8Array(1);
    if (!this.read(byte, 1, at)) throw new Error(`cannot read the byte at ${at}`);
    byte[0]! ^= mask;
    writeSync(this.fd, byte, 0, 1, at);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** Every damaged place of a file at rest, and whether data is lost there. */
export async function damageOf(path: string): Promise<readonly Damage[]> {
  const { json } = await inspectFile("integrity", path, () => {});
  const { damaged, problems } = json as { damaged: Damage[]; problems?: string[] };
  if (problems !== undefined && problems.length > 0) {
    throw new Error(`${path} contradicts itself: ${problems.join("; ")}`);
  }
  return damaged;
}

/**
 * Damaged places that a replica has yet to repair. A reply that it has got from another one is in memory
 * alone until the next checkpoint.
 */
export async function lostPlaces(path: string): Promise<readonly string[]> {
  const damaged = await damageOf(path);
  const needed = damaged.filter(({ serious, place }) => serious && !isReply(place));
  return needed.map(({ place }) => place);
}

function isReply(place: string): boolean {
  return place.startsWith("client reply slot");
}

export interface DamageOptions {
  readonly kind: RotKind;
  /** Blocks as well that no start reads: only the scrubber finds them, in its time. */
  readonly lazyBlocks: boolean;
}

/** Flips bits in places of one kind, if the file is intact; null when nothing was damaged. */
export async function damage(
  path: string,
  { kind, lazyBlocks }: DamageOptions,
  random: Prng,
): Promise<Rot | null> {
  const before = new Set((await damageOf(path)).map(({ place }) => place));
  if (isSyncing(path) || [...before].some((place) => !isReply(place))) return null;
  let flips = withFile(path, (file) => {
    const chosen = choose(file, kind, random);
    const flips = chosen.map((at) => ({ at, mask: 1 << random.below(8) }));
    for (const flip of flips) file.flip(flip);
    return flips;
  });
  let damaged = (await damageOf(path)).filter(({ place }) => !before.has(place));
  if (!lazyBlocks && damaged.some(isLazy)) {
    const lazy = flips.filter(({ at }) =>
      damaged.some((place) => isLazy(place) && isIn(at, place)),
    );
    withFile(path, (file) => {
      for (const flip of lazy) file.flip(flip);
    });
    flips = flips.filter((flip) => !lazy.includes(flip));
    damaged = (await damageOf(path)).filter(({ place }) => !before.has(place));
  }
  if (damaged.length === 0) return null;
  return { kind, flips: flips.length, places: damaged.map(({ place }) => place) };
}

/** It has moved to a checkpoint of its cluster and misses blocks. */
function isSyncing(path: string): boolean {
  return withFile(path, (file) => inspectSuperblock(file).current?.syncOpMax !== 0);
}

/** A start makes nothing in memory from rows of balances. */
function isLazy({ place }: Damage): boolean {
  return place.includes("balances");
}

function isIn(at: number, { offset }: Damage): boolean {
  return at >= offset && at < offset + blockSize;
}

function withFile<T>(path: string, use: (file: OpenFile) => T): T {
  const file = new OpenFile(path);
  try {
    return use(file);
  } finally {
    file.close();
  }
}

function choose(file: OpenFile, kind: RotKind, random: Prng): number[] {
  const superblock = inspectSuperblock(file).current;
  if (superblock === null) throw new Error("an intact file has a superblock");
  const layout = new DataFileLayout(superblock.format);
  const slots = inspectJournal(file, layout, superblock).slots.filter(hasBothCopies);
  switch (kind) {
    case "prepares":
      return pick(slots, random.range(1, 8), random).map(
        ({ slot, prepare }) => layout.prepareAt(slot) + random.below(prepare!.size),
      );
    case "headers":
      return pick(slots, random.range(1, 3), random).map(
        ({ slot }) => layout.headerRingAt + slot * headerSize + random.below(headerSize),
      );
    case "replies": {
      const kept = inspectReplies(file, layout).slots.filter(({ state }) => state === "good");
      return pick(kept, random.range(1, 3), random).map(
        ({ slot, size }) => layout.replyAt(slot) + random.below(size!),
      );
    }
    case "blocks": {
      const blocks = Math.floor((file.sizeBytes - layout.gridAt) / blockSize);
      // Some of them are free.
      const addresses = Array.from({ length: blocks }, (_, index) => index + 1);
      return pick(addresses, random.range(4, 16), random).map(
        (address) => layout.blockAt(address) + random.below(blockSize),
      );
    }
    case "superblock": {
      const copy = random.below(superblockCopies);
      return [layout.superblockCopyAt(copy) + random.below(superblockCopySize)];
    }
  }
}

function hasBothCopies({ header, prepare }: SlotSummary): boolean {
  return header !== null && prepare !== null && header.checksum === prepare.checksum;
}

function pick<T>(list: readonly T[], count: number, random: Prng): T[] {
  const rest = [...list];
  const picked: T[] = [];
  while (picked.length < count && rest.length > 0) {
    picked.push(rest.splice(random.below(rest.length), 1)[0]!);
  }
  return picked;
}

/** The checkpoint that a file at rest is at: op and id. */
export function checkpointOf(path: string): { readonly op: number; readonly id: string } {
  return withFile(path, (file) => {
    const { current, error } = inspectSuperblock(file);
    if (current === null) throw new Error(`${path}: ${error}`);
    return { op: current.checkpointOp, id: current.checkpointId };
  });
}
