/**
 * Simulated time: a binary heap of events in the order of (time, sequence), so that events of the
 * same instant happen in the order in which they were scheduled. Time jumps from event to event.
 *
 * Events are objects of their owners', used again and again; one is in the queue at most once.
 */
import { assert } from "../../src/core/assert.ts";

export abstract class SimulatedEvent {
  /** Microseconds since the start. Kept by the queue. */
  timeUs = 0;
  /** Kept by the queue. */
  sequence = 0;
  /** True while it waits. Kept by the queue. */
  queued = false;

  abstract run(): void;
}

export class EventQueue {
  /** Microseconds since the start; never goes back. */
  nowUs = 0;
  /** Events that have run. */
  ran = 0;
  private readonly heap: SimulatedEvent[] = [];
  private nextSequence = 0;

  get length(): number {
    return this.heap.length;
  }

  /** @param delayUs - Whole, 0 or more. */
  schedule(event: SimulatedEvent, delayUs: number): void {
    assert(!event.queued, "an event waits once");
    assert(delayUs >= 0, "time does not go back");
    assert(Number.isInteger(delayUs), "time is whole microseconds");
    event.timeUs = this.nowUs + delayUs;
    event.sequence = this.nextSequence;
    event.queued = true;
    this.nextSequence += 1;
    this.heap.push(event);
    this.rise(this.heap.length - 1);
  }

  /** Goes to the next event's time and runs it; false when there is none. */
  runNext(): boolean {
    const heap = this.heap;
    const first = heap[0];
    if (first === undefined) return false;
    const last = heap.pop()!;
    if (heap.length > 0) {
      heap[0] = last;
      this.sink();
    }
    assert(first.timeUs >= this.nowUs, "time does not go back");
    this.nowUs = first.timeUs;
    this.ran += 1;
    first.queued = false;
    first.run();
    return true;
  }

  private rise(from: number): void {
    const heap = this.heap;
    const event = heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = heap[parent]!;
      if (before(above, event)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  private sink(): void {
    const heap = this.heap;
    const length = heap.length;
    const event = heap[0]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && before(heap[child + 1]!, heap[child]!)) child += 1;
      const below = heap[child]!;
      if (before(event, below)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = event;
  }
}

function before(a: SimulatedEvent, b: SimulatedEvent): boolean {
  return a.timeUs < b.timeUs || (a.timeUs === b.timeUs && a.sequence < b.sequence);
}

/** Functions called later; the events that carry them are used again. */
export class Callbacks {
  private readonly free: CallbackEvent[] = [];

  constructor(private readonly queue: EventQueue) {}

  after(delayUs: number, callback: () => void): void {
    const event = this.free.pop() ?? new CallbackEvent(this.free);
    event.callback = callback;
    this.queue.schedule(event, delayUs);
  }
}

class CallbackEvent extends SimulatedEvent {
  callback: (() => void) | null = null;

  constructor(private readonly free: CallbackEvent[]) {
    super();
  }

  run(): void {
    const callback = this.callback!;
    this.callback = null;
    this.free.push(this);
    callback();
  }
}
