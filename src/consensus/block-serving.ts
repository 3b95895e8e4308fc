/**
 * Answers one peer's requests for blocks of the grid: a line of what it asked for, a few reads at a
 * time, each in a message that is then sent. The messages are the peer's own, so that however much it
 * asks for, the replica's other messages are not used up, and its connection has room for them.
 *
 * A block is sent only if it is the one that was asked for, byte for byte: read from the file and
 * verified. Otherwise the answer says that it is not here, and the peer asks somebody else. That needs
 * no state of the replica's: it is as true while the replica opens as afterwards.
 */
import { assert } from "../core/assert.ts";
import { blockSize, headerSize, sectorSize } from "../core/limits.ts";
import { u64ReadNumber, u64WriteNumber, u128Copy } from "../core/u128.ts";
import type { IoBuffer } from "../io/io.ts";
import { type Message, MessagePool, MessageWaiter } from "../io/message-pool.ts";
import { BlockRead, mayHold } from "../storage/block-read.ts";
import type { StorageEngine } from "../storage/engine.ts";
import { blockMessageSize, blockRequestsMax } from "../wire/replica-headers.ts";
import { writeBlock, writeNoBlock } from "../wire/replica-messages.ts";
import type { ReplicaBus } from "./replica-bus.ts";

/** Blocks of one peer's that are being read or sent: well below what a connection queues. */
export const blocksInFlightMax = 2;

/** Blocks that one peer may be waiting for: as many as it asks for at once. More are dropped. */
const lineMax = 32;

/** Checksum, address. */
const lineWords = 6;

export interface BlockServingOptions {
  readonly cluster: Uint32Array;
  /** Own index. */
  readonly replica: number;
  readonly bus: ReplicaBus;
  readonly storage: StorageEngine;
  readonly allocate: (sizeBytes: number) => IoBuffer;
}

class Lane {
  message: Message | null = null;
  readonly read: BlockRead;

  constructor(storage: StorageEngine, onRead: (lane: Lane, found: boolean) => void) {
    this.read = new BlockRead(storage, (found) => onRead(this, found));
  }
}

export class BlockServing {
  blocksSent = 0;
  private readonly idle: Lane[] = [];
  private readonly pool: MessagePool;
  private readonly waiter: MessageWaiter;
  /** The block that each message was read into for last; on its way while the message is in use. */
  private readonly sent: { readonly message: Message; address: number }[] = [];
  private readonly line = new Uint32Array(lineMax * lineWords);
  private lineFirst = 0;
  private lineLength = 0;

  constructor(
    private readonly options: BlockServingOptions,
    private readonly peer: number,
  ) {
    for (let count = 0; count < blocksInFlightMax; count += 1) {
      this.idle.push(new Lane(options.storage, (lane, found) => this.onRead(lane, found)));
    }
    this.pool = new MessagePool(options.allocate, {
      small: blockRequestsMax,
      large: blocksInFlightMax,
    });
    // All that happens is that a read starts: that may be at any time, also in the middle of a send.
    this.pool.onWake = () => this.pool.wakeWaiters();
    this.waiter = new MessageWaiter(() => {
      this.pool.cancelWait(this.waiter);
      this.serve();
      return true;
    });
  }

  /** The peer wants this block. Untrusted input. */
  request(words: Uint32Array, checksumAt: number, address: number): void {
    const { grid } = this.options.storage;
    if (!grid.halted && !mayHold(grid, address)) {
      this.deny(words, checksumAt, address);
      return;
    }
    if (this.lineLength === lineMax || this.isOnItsWay(address)) return;
    const at = ((this.lineFirst + this.lineLength) % lineMax) * lineWords;
    u128Copy(this.line, at, words, checksumAt);
    u64WriteNumber(this.line, at + 4, address);
    this.lineLength += 1;
    this.serve();
  }

  /** Over a slow connection a peer asks again before the block has arrived: once is enough. */
  private isOnItsWay(address: number): boolean {
    for (let index = 0; index < this.lineLength; index += 1) {
      const at = ((this.lineFirst + index) % lineMax) * lineWords;
      if (u64ReadNumber(this.line, at + 4) === address) return true;
    }
    for (const sent of this.sent) {
      if (sent.address === address && sent.message.references > 0) return true;
    }
    return false;
  }

  private note(message: Message, address: number): void {
    const known = this.sent.find((sent) => sent.message === message);
    if (known === undefined) this.sent.push({ message, address });
    else known.address = address;
  }

  private serve(): void {
    while (this.lineLength > 0 && this.idle.length > 0) {
      const message = this.pool.get(blockMessageSize);
      if (message === null) {
        if (!this.waiter.waiting) this.pool.wait(this.waiter, true);
        return;
      }
      const lane = this.idle.pop()!;
      const at = this.lineFirst * lineWords;
      const address = u64ReadNumber(this.line, at + 4);
      this.lineFirst = (this.lineFirst + 1) % lineMax;
      this.lineLength -= 1;
      lane.message = message;
      this.note(message, address);
      // A sector after the start, since Direct I/O cannot read to behind the header.
      if (lane.read.start(address, this.line, at, message.buffer, sectorSize)) continue;
      lane.message = null;
      this.idle.push(lane);
      this.pool.unref(message);
    }
  }

  private onRead(lane: Lane, found: boolean): void {
    const { message } = lane;
    assert(message !== null, "a read has a message");
    if (found) this.send(message, lane.read);
    else this.deny(lane.read.checksum, 0, lane.read.address);
    lane.message = null;
    this.idle.push(lane);
    this.pool.unref(message);
    this.serve();
  }

  private send(message: Message, read: BlockRead): void {
    const { cluster, replica, bus } = this.options;
    const { bytes, words } = message;
    bytes.copyWithin(headerSize, sectorSize, sectorSize + blockSize);
    writeBlock(bytes, words, cluster, 0, replica, read.checksum, 0, read.address);
    if (bus.sendToReplica(this.peer, message)) this.blocksSent += 1;
  }

  /** Without a message for it the peer waits until it has waited for long enough. */
  private deny(checksum: Uint32Array, checksumAt: number, address: number): void {
    const { cluster, replica, bus } = this.options;
    const message = this.pool.get(headerSize);
    if (message === null) return;
    const { bytes, words } = message;
    writeNoBlock(bytes, words, cluster, 0, replica, checksum, checksumAt, address);
    bus.sendToReplica(this.peer, message);
    this.pool.unref(message);
  }
}
