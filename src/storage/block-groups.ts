/**
 * Things that wait for blocks, grouped by block, so that each block is read once however they are
 * ordered. Blocks are numbers of the caller's; so are the things: 0 … count − 1.
 */
import { assert } from "../core/assert.ts";

export class BlockGroups {
  /** Groups so far, numbered in the order of their first members. */
  length = 0;
  /** Per group: its block, and the member that was added last. */
  block: Uint32Array;
  head: Int32Array;
  /** Per member: the one that was added to the group before it, or −1. */
  next: Int32Array;
  /** Block → group, by open addressing; an entry counts if its stamp is the current one. */
  private hashGroup: Int32Array;
  private hashStamp: Uint32Array;
  private stamp = 0;

  /** @param count - Members that there is room for at first. */
  constructor(count: number) {
    const length = 2 ** Math.ceil(Math.log2(count));
    this.block = new Uint32Array(length);
    this.head = new Int32Array(length);
    this.next = new Int32Array(length);
    this.hashGroup = new Int32Array(length * 2);
    this.hashStamp = new Uint32Array(length * 2);
  }

  /** Empties it, and makes room for `count` members. */
  begin(count: number): void {
    this.length = 0;
    this.stamp += 1;
    if (count > this.next.length) {
      const length = 2 ** Math.ceil(Math.log2(count));
      this.block = new Uint32Array(length);
      this.head = new Int32Array(length);
      this.next = new Int32Array(length);
      this.hashGroup = new Int32Array(length * 2);
      this.hashStamp = new Uint32Array(length * 2);
      this.stamp = 1;
    } else if (this.stamp > 0xffff_ffff) {
      this.hashStamp.fill(0);
      this.stamp = 1;
    }
  }

  /** Adds a member. True when it is the first of a new group. */
  add(block: number, member: number): boolean {
    assert(member < this.next.length, "room was made for it");
    const mask = this.hashGroup.length - 1;
    let at = (Math.imul(block, 0x9e37_79b1) >>> 8) & mask;
    while (this.hashStamp[at] === this.stamp) {
      const group = this.hashGroup[at]!;
      if (this.block[group] === block) {
        this.next[member] = this.head[group]!;
        this.head[group] = member;
        return false;
      }
      at = (at + 1) & mask;
    }
    const group = this.length;
    this.length = group + 1;
    this.hashStamp[at] = this.stamp;
    this.hashGroup[at] = group;
    this.block[group] = block;
    this.head[group] = member;
    this.next[member] = -1;
    return true;
  }
}
