/**
 * What makes a block the one that a reference names: its header, and the checksums that cover every
 * byte. Sealing fills them in before a block is written; verifying holds what was read against them.
 *
 * The checksum of most blocks covers all of the block. That of a page block covers its first page,
 * which holds the header and the checksum of each page behind it, so that a page can be verified
 * alone.
 */
import { blockSize, pageSize } from "../core/limits.ts";
import type { IoBuffer } from "../io/io.ts";
import { checksum, checksumMatches } from "../native/checksum.ts";
import {
  BlockType,
  blockHeaderWords,
  blockLayout,
  blockVersion,
  checksumBytes,
  pageChecksumAt,
  pagesPerBlock,
} from "./format.ts";

const at = blockLayout.word;

export class BlockSeals {
  private readonly cluster: Uint32Array;

  /** @param cluster - Id of the cluster whose blocks these are: four words, copied. */
  constructor(cluster: Uint32Array) {
    this.cluster = cluster.slice(0, 4);
  }

  /**
   * Fills the header of the block at words[wordAt], whose payload stands already (zeros after
   * `length` bytes), and computes its checksum.
   */
  seal(
    buffer: IoBuffer,
    wordAt: number,
    address: number,
    type: BlockType,
    table: number,
    op: number,
    first: number,
    count: number,
    length: number,
  ): void {
    const words = buffer.words;
    words[wordAt + at.cluster] = this.cluster[0]!;
    words[wordAt + at.cluster + 1] = this.cluster[1]!;
    words[wordAt + at.cluster + 2] = this.cluster[2]!;
    words[wordAt + at.cluster + 3] = this.cluster[3]!;
    words[wordAt + at.address] = address;
    words[wordAt + at.address + 1] = 0;
    words[wordAt + at.op] = op % 0x1_0000_0000;
    words[wordAt + at.op + 1] = Math.floor(op / 0x1_0000_0000);
    words[wordAt + at.first] = first;
    words[wordAt + at.first + 1] = 0;
    words[wordAt + at.version] = blockVersion;
    words[wordAt + at.type] = type;
    words[wordAt + at.table] = table;
    words[wordAt + at.length] = length;
    words[wordAt + at.count] = count;
    for (let word = at.reserved; word < blockHeaderWords; word += 1) words[wordAt + word] = 0;

    const byteAt = wordAt * 4;
    let covered = blockSize;
    if (type === BlockType.pages) {
      covered = pageSize;
      for (let unit = 1; unit <= pagesPerBlock; unit += 1) {
        checksum(
          buffer.bytes,
          byteAt + pageChecksumAt(unit),
          buffer.bytes,
          byteAt + unit * pageSize,
          pageSize,
        );
      }
    }
    checksum(buffer.bytes, byteAt, buffer.bytes, byteAt + checksumBytes, covered - checksumBytes);
  }

  /** As `verify` for a block of whatever type it says: it is the one with that reference. */
  matches(
    buffer: IoBuffer,
    wordAt: number,
    address: number,
    checksums: Uint32Array,
    checksumAt: number,
  ): boolean {
    const type = buffer.words[wordAt + at.type]!;
    if (type < BlockType.rows || type > BlockType.runIndex) return false;
    return this.verify(buffer, wordAt, address, checksums, checksumAt, type as BlockType) === null;
  }

  /**
   * Checks the block at words[wordAt] against its reference. Returns null when it is that very
   * block, sound in every byte, or why it is not.
   *
   * @param checksums - The reference's four words of checksum stand at checksums[checksumAt].
   */
  verify(
    buffer: IoBuffer,
    wordAt: number,
    address: number,
    checksums: Uint32Array,
    checksumAt: number,
    type: BlockType,
  ): string | null {
    const words = buffer.words;
    const covered = type === BlockType.pages ? pageSize : blockSize;
    const sound = soundTo(buffer, wordAt, covered);
    if (!sound) {
      // Perhaps a sound block of another kind: what it is tells more than a mismatch does.
      const other = covered === pageSize ? blockSize : pageSize;
      if (!soundTo(buffer, wordAt, other)) return "checksum mismatch";
    }
    if (words[wordAt + at.address] !== address) {
      return `holds block ${words[wordAt + at.address]}: a misdirected write or read`;
    }
    for (let word = 0; word < 4; word += 1) {
      if (words[wordAt + word] !== checksums[checksumAt + word]) {
        return "holds another version of this block: a lost write";
      }
    }
    if (!sound) return "checksum mismatch";
    // The reference pins all that follows; only a bug in the writer can make it differ.
    for (let word = 0; word < 4; word += 1) {
      if (words[wordAt + at.cluster + word] !== this.cluster[word])
        return "belongs to another cluster";
    }
    if (words[wordAt + at.version] !== blockVersion) {
      return `has block format version ${words[wordAt + at.version]}, not ${blockVersion}`;
    }
    if (words[wordAt + at.type] !== type) {
      return `has block type ${words[wordAt + at.type]}, not ${type}`;
    }
    if (type === BlockType.pages) {
      const byteAt = wordAt * 4;
      for (let unit = 1; unit <= pagesPerBlock; unit += 1) {
        const pageSound = checksumMatches(
          buffer.bytes,
          byteAt + pageChecksumAt(unit),
          buffer.bytes,
          byteAt + unit * pageSize,
          pageSize,
        );
        if (!pageSound) return `checksum mismatch in page ${unit}`;
      }
    }
    return null;
  }
}

/** True when the block's checksum is that of its first `covered` bytes. */
function soundTo(buffer: IoBuffer, wordAt: number, covered: number): boolean {
  const byteAt = wordAt * 4;
  return checksumMatches(
    buffer.bytes,
    byteAt,
    buffer.bytes,
    byteAt + checksumBytes,
    covered - checksumBytes,
  );
}
