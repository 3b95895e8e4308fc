/**
 * The ring of redundant headers, beside that of the prepares: one durable write per sector of them.
 *
 * A sector only ever contains headers whose prepares are durable. Writes of one sector follow each
 * other, and headers that came meanwhile share the next. Nobody waits for them: recovery does without
 * headers that had not landed; what they add is proof that a prepare now damaged had been whole.
 *
 * Where the owner ticks (in a cluster of one), a header waits for the others of its sector, for two
 * ticks at most: prepares that follow prove as much by their commit number. Otherwise each header is
 * written right behind its prepare.
 *
 *   (nothing new) ── put ──▶ waits: new ── tick ──▶ waits: long ── tick ──▶ queued ──▶ written
 *                    └─ the sector's last, or nobody ticks, or the end ───────┘
 */
import { headerSize, sectorSize } from "../core/limits.ts";
import { RingQueue } from "../core/ring-queue.ts";
import { Completion, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import { type DataFileLayout, headersPerSector } from "./data-file.ts";
import { copyHeader, headerWords, type Memory, sameHeader, scratchMemory } from "./headers.ts";

/**
 * Header sectors in flight. Consecutive ops share a sector, whose writes follow each other anyway;
 * the second serves a pipeline that crosses into the next one.
 */
const headerWritesMax = 2;

export interface HeaderRingOptions {
  readonly io: FileIo;
  readonly file: FileHandle;
  readonly layout: DataFileLayout;
  /** The owner calls `tick` all the time: headers may wait for it. */
  readonly ticks: boolean;
  /** A sector has been written. */
  readonly onLanded: () => void;
  /** A sector could not be written. Nothing is called back afterwards. */
  readonly onFailed: (place: string, error: number) => void;
}

/** A sector of redundant headers on its way; `buffer` is its image, stable while in flight. */
class HeaderWrite {
  sector = -1;
  readonly completion: Completion;
  constructor(
    readonly buffer: IoBuffer,
    onDone: (write: HeaderWrite) => void,
  ) {
    this.completion = new Completion(() => onDone(this));
  }
}

/** A header sector that is not queued: nothing is new, or headers wait, since a tick or the one before. */
const Waiting = { no: 0, new: 1, long: 2 } as const;

export class HeaderRing {
  /** Sectors written so far. */
  writes = 0;

  private readonly io: FileIo;
  private readonly file: FileHandle;
  private readonly layout: DataFileLayout;
  private readonly onLanded: () => void;
  private readonly onFailed: (place: string, error: number) => void;
  private readonly ticks: boolean;

  /** The ring as it is (to be) on disk: only headers whose prepares are durable. */
  private readonly ring: Memory;
  private readonly freeWrites: HeaderWrite[] = [];
  /** Sectors that wait to be written, each at most once. */
  private readonly sectorQueue: RingQueue<number>;
  private readonly sectorQueued: Uint8Array;
  private readonly sectorWriting: Uint8Array;
  /** Per sector, see `Waiting`; and how many of them wait. */
  private readonly sectorWaiting: Uint8Array;
  private sectorsWaiting = 0;
  private stopped = false;

  constructor(options: HeaderRingOptions) {
    this.io = options.io;
    this.file = options.file;
    this.layout = options.layout;
    this.ticks = options.ticks;
    this.onLanded = options.onLanded;
    this.onFailed = options.onFailed;
    const { slotCount } = options.layout;
    const sectorCount = slotCount / headersPerSector;
    this.ring = scratchMemory(slotCount * headerSize);
    this.sectorQueue = new RingQueue<number>(sectorCount);
    this.sectorQueued = new Uint8Array(sectorCount);
    this.sectorWriting = new Uint8Array(sectorCount);
    this.sectorWaiting = new Uint8Array(sectorCount);
    for (let count = 0; count < headerWritesMax; count += 1) {
      const buffer = this.io.allocate(sectorSize);
      this.freeWrites.push(new HeaderWrite(buffer, (write) => this.onWritten(write)));
    }
  }

  /** At the start: what the disk holds after recovery. */
  load(words: Uint32Array): void {
    this.ring.words.set(words.subarray(0, this.ring.words.length));
  }

  /** True when the slot's header, here and so at some time on disk, is the one at words[at]. */
  holds(slot: number, words: Uint32Array, at: number): boolean {
    return sameHeader(this.ring.words, slot * headerWords, words, at);
  }

  /** The prepare whose header is at words[at] is durable in its slot. `land` follows. */
  put(slot: number, words: Uint32Array, at: number): void {
    copyHeader(this.ring.words, slot * headerWords, words, at);
  }

  /**
   * Has the slot's header written.
   * @param now - It does not wait for others.
   */
  land(slot: number, now: boolean): void {
    const sector = Math.floor(slot / headersPerSector);
    const last = slot % headersPerSector === headersPerSector - 1;
    if (!this.ticks || now || last) this.queueSector(sector);
    else if (this.sectorQueued[sector] === 0 && this.sectorWaiting[sector] === Waiting.no) {
      this.sectorWaiting[sector] = Waiting.new;
      this.sectorsWaiting += 1;
    }
  }

  /** Writes the headers that have waited since the tick before. */
  tick(): void {
    if (this.sectorsWaiting > 0) this.endWaiting(Waiting.long);
  }

  /** Writes all headers that wait. */
  landAll(): void {
    this.endWaiting(Waiting.new);
  }

  /** True when headers are still on their way. */
  get busy(): boolean {
    return (
      this.sectorsWaiting > 0 ||
      this.sectorQueue.length > 0 ||
      this.freeWrites.length < headerWritesMax
    );
  }

  /** A write of the journal failed: nothing is written or called back any more. */
  stop(): void {
    this.stopped = true;
  }

  /** Queues the sectors that have waited for so long; the others have then waited a tick longer. */
  private endWaiting(since: number): void {
    const sectors = this.sectorWaiting;
    for (let sector = 0; sector < sectors.length; sector += 1) {
      if (sectors[sector]! >= since) this.queueSector(sector);
      else if (sectors[sector] === Waiting.new) sectors[sector] = Waiting.long;
    }
  }

  private queueSector(sector: number): void {
    if (this.sectorWaiting[sector] !== Waiting.no) {
      this.sectorWaiting[sector] = Waiting.no;
      this.sectorsWaiting -= 1;
    }
    if (this.sectorQueued[sector] === 1) return;
    this.sectorQueued[sector] = 1;
    this.sectorQueue.push(sector);
    this.writeSectors();
  }

  private writeSectors(): void {
    if (this.stopped) return;
    for (let turns = this.sectorQueue.length; turns > 0; turns -= 1) {
      if (this.freeWrites.length === 0) return;
      const sector = this.sectorQueue.shift()!;
      if (this.sectorWriting[sector] === 1) {
        this.sectorQueue.push(sector); // Its turn comes when the write before it is done.
        continue;
      }
      const write = this.freeWrites.pop()!;
      write.sector = sector;
      this.sectorQueued[sector] = 0;
      this.sectorWriting[sector] = 1;
      this.writes += 1;
      const ringAt = sector * sectorSize;
      const image = write.buffer.words;
      for (let word = 0; word < sectorSize / 4; word += 1) {
        image[word] = this.ring.words[ringAt / 4 + word]!;
      }
      const fileAt = this.layout.headerRingAt + ringAt;
      this.io.write(write.completion, this.file, write.buffer, 0, sectorSize, fileAt, true);
    }
  }

  private onWritten(write: HeaderWrite): void {
    if (this.stopped) return;
    if (write.completion.result < 0) {
      const place = `journal headers ${write.sector * headersPerSector} and following`;
      this.onFailed(place, write.completion.result);
      return;
    }
    this.sectorWriting[write.sector] = 0;
    this.freeWrites.push(write);
    this.writeSectors();
    this.onLanded();
  }
}
