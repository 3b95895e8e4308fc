/** A first-in first-out queue of fixed capacity that allocates only when it is made. */
import { assert } from "./assert.ts";

export class RingQueue<T> {
  private readonly items: (T | undefined)[];
  private head = 0;
  private size = 0;

  constructor(readonly capacity: number) {
    assert(capacity > 0, "a queue holds something");
    this.items = new Array<T | undefined>(capacity).fill(undefined);
  }

  get length(): number {
    return this.size;
  }

  get full(): boolean {
    return this.size === this.capacity;
  }

  push(item: T): void {
    assert(this.size < this.capacity, "the queue is not full");
    this.items[(this.head + this.size) % this.capacity] = item;
    this.size += 1;
  }

  shift(): T | undefined {
    if (this.size === 0) return undefined;
    const item = this.items[this.head];
    this.items[this.head] = undefined;
    this.head = (this.head + 1) % this.capacity;
    this.size -= 1;
    return item;
  }

  /** The item at `index` from the head, 0 being the oldest. */
  at(index: number): T {
    assert(index >= 0 && index < this.size, "index is inside the queue");
    return this.items[(this.head + index) % this.capacity] as T;
  }

  peek(): T | undefined {
    return this.size === 0 ? undefined : this.items[this.head];
  }

  peekLast(): T | undefined {
    return this.size === 0 ? undefined : this.at(this.size - 1);
  }

  clear(): void {
    this.items.fill(undefined);
    this.head = 0;
    this.size = 0;
  }
}
