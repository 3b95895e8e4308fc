/**
 * Formats a data file: a fixed sequence of writes through the I/O seam.
 *
 * The journal and the replies zone are written once in full, since the first write into merely
 * allocated space costs the file system twice as much as an overwrite. The superblock zone is
 * zeroed first and the copies are written when all else is durable: a file whose formatting was
 * interrupted has no superblock and is refused, never half accepted, whatever it held before.
 */
import { assert } from "../core/assert.ts";
import { DataFileError, DataFileErrorCode } from "../core/data-file-error.ts";
import { headerSize, replySlotSize, sectorSize } from "../core/limits.ts";
import { Completion, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import {
  checkFormatOptions,
  DataFileLayout,
  type FormatOptions,
  prepareSlotSize,
  superblockCopies,
  superblockCopySize,
  superblockCopySpacing,
} from "./data-file.ts";
import { writeReservedHeader, writeRootPrepare } from "./headers.ts";
import { sealSuperblock, writeFirstSuperblock } from "./superblock-layout.ts";

/** Slots being written at once. */
const lanesMax = 4;

/**
 * @param file - At least `gridAt` bytes of the layout long, exclusively ours.
 * @param release - Of this program.
 * @param onDone - Null, or what stopped it. Never called from inside.
 * @param recovering - The file replaces one that was lost, which may have acknowledged and voted: the
 *   replica takes part in nothing until the others have told it enough (`Superblock.recovering`).
 */
export function formatDataFile(
  io: FileIo,
  file: FileHandle,
  options: FormatOptions,
  release: number,
  onDone: (error: DataFileError | null) => void,
  recovering = false,
): void {
  assert(checkFormatOptions(options) === null, "format options were checked");
  assert(!recovering || options.replicaCount > 1, "the others know what a lost file held");
  new Formatting(io, file, options, release, onDone, recovering).start();
}

class Formatting {
  private readonly layout: DataFileLayout;
  private lanes = 0;
  private next = 0;
  private error: DataFileError | null = null;
  /** Steps of the wide part: journal slots, then what 1 MiB writes of zeros cover the replies. */
  private readonly replyChunks: number;

  constructor(
    private readonly io: FileIo,
    private readonly file: FileHandle,
    private readonly options: FormatOptions,
    private readonly release: number,
    private readonly onDone: (error: DataFileError | null) => void,
    private readonly recovering: boolean,
  ) {
    this.layout = new DataFileLayout(options);
    this.replyChunks = Math.ceil(this.layout.repliesSize / prepareSlotSize);
  }

  start(): void {
    const zone = superblockCopies * superblockCopySpacing;
    const completion = new Completion((write) => {
      if (this.check(write, "clear the superblock zone")) this.startLanes();
      else this.onDone(this.error);
    });
    const zeros = this.io.allocate(zone);
    this.io.write(completion, this.file, zeros, 0, zone, this.layout.superblockAt, true);
  }

  private startLanes(): void {
    for (let lane = 0; lane < lanesMax; lane += 1) {
      const buffer = this.io.allocate(prepareSlotSize);
      const completion = new Completion((write) => {
        this.lanes -= 1;
        if (this.check(write, "format journal and replies")) this.startLane(buffer, write);
        if (this.lanes === 0) this.afterLanes();
      });
      this.startLane(buffer, completion);
    }
  }

  /** Starts the next wide write, if there is one. */
  private startLane(buffer: IoBuffer, completion: Completion): void {
    const { layout } = this;
    const step = this.next;
    if (step === layout.slotCount + this.replyChunks) return;
    this.next += 1;
    this.lanes += 1;
    buffer.bytes.fill(0, 0, sectorSize);
    let at = 0;
    let length = prepareSlotSize;
    if (step < layout.slotCount) {
      if (step === 0) writeRootPrepare(buffer, 0, this.options);
      else writeReservedHeader(buffer, 0, this.options.cluster, step);
      at = layout.prepareAt(step);
    } else {
      const chunkAt = (step - layout.slotCount) * prepareSlotSize;
      at = layout.repliesAt + chunkAt;
      length = Math.min(prepareSlotSize, layout.repliesSize - chunkAt);
    }
    this.io.write(completion, this.file, buffer, 0, length, at, false);
  }

  private afterLanes(): void {
    if (this.error !== null) this.onDone(this.error);
    else this.writeHeaderRing();
  }

  private writeHeaderRing(): void {
    const { layout, options } = this;
    const ring = this.io.allocate(layout.headerRingSize);
    for (let slot = 0; slot < layout.slotCount; slot += 1) {
      writeReservedHeader(ring, slot * headerSize, options.cluster, slot);
    }
    const root = this.io.allocate(sectorSize);
    writeRootPrepare(root, 0, options);
    ring.bytes.set(root.bytes.subarray(0, headerSize), 0);
    const completion = new Completion((write) => {
      if (this.check(write, "format the header ring")) this.sync();
      else this.onDone(this.error);
    });
    const length = layout.headerRingSize;
    this.io.write(completion, this.file, ring, 0, length, layout.headerRingAt, false);
  }

  private sync(): void {
    const completion = new Completion((sync) => {
      if (this.check(sync, "sync the new file")) this.writeSuperblock();
      else this.onDone(this.error);
    });
    this.io.sync(completion, this.file);
  }

  private writeSuperblock(): void {
    // With the unused space behind each copy, so that nothing of an earlier file remains.
    const image = this.io.allocate(superblockCopySpacing);
    assert(image.sizeBytes >= superblockCopySize, "a copy fits its space");
    writeFirstSuperblock(image, this.options, this.release, this.recovering);
    let copy = 0;
    const completion = new Completion((write) => {
      if (!this.check(write, `format superblock copy ${copy}`)) {
        this.onDone(this.error);
        return;
      }
      copy += 1;
      if (copy === superblockCopies) this.onDone(null);
      else writeCopy();
    });
    const writeCopy = (): void => {
      sealSuperblock(image, copy);
      const at = this.layout.superblockCopyAt(copy);
      this.io.write(completion, this.file, image, 0, superblockCopySpacing, at, true);
    };
    writeCopy();
  }

  private check(completion: Completion, what: string): boolean {
    if (completion.result >= 0) return true;
    const text = `Cannot ${what}: error ${-completion.result}.`;
    this.error = new DataFileError(DataFileErrorCode.io, text);
    return false;
  }
}

assert(prepareSlotSize % replySlotSize === 0, "chunks of the replies zone are whole slots");
