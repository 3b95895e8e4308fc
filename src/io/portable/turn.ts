/**
 * The portable backend's loop turn: operations end at any moment, in callbacks of Node's, and their
 * completions are called back together from one `setImmediate`, which runs right after libuv's poll
 * phase: no call of the owner's ever calls back from inside itself, and no latency is added.
 *
 * What ends during a turn waits for the next one, so that Node's timers, signals and HTTP are served
 * in between however busy the backend is.
 *
 * Stopping: when `stop` was called, a new operation ends with −ECANCELED at once. The turn that
 * leaves nothing in flight and no handle of Node's open reports the end.
 */
import { assert } from "../../core/assert.ts";
import { RingQueue } from "../../core/ring-queue.ts";
import type { Completion, IoStats } from "../io.ts";
import { Errno } from "../io.ts";

/** Operations in flight at most, all kinds together. Owners have far fewer completions. */
export const operationsMax = 65_536;

const idle = (): void => {};

export class Turn {
  private readonly ended = new RingQueue<Completion>(operationsMax);
  private onTurn: () => void = idle;
  private onStopped: () => void = idle;
  private scheduled = false;
  private started = false;
  private stopped = false;
  /** Operations refused since `stop` was called. */
  private refused = 0;
  /** Handles of Node's that `stop` waits for: each may still touch a buffer or call back. */
  private held = 0;
  stopping = false;

  constructor(private readonly stats: IoStats) {}

  start(onTurn: () => void): void {
    assert(!this.started, "a backend is started once");
    assert(!this.stopping, "a backend is not started after its stop");
    this.started = true;
    this.onTurn = onTurn;
    this.schedule();
  }

  stop(onStopped: () => void): void {
    assert(!this.stopping, "a backend is stopped once");
    this.stopping = true;
    this.started = true;
    this.onStopped = onStopped;
    this.schedule();
  }

  /** Takes over the completion. False: the backend is stopping and has ended the operation. */
  begin(completion: Completion): boolean {
    assert(!completion.busy, "a completion serves one operation at a time");
    assert(!this.stopped, "a stopped backend starts nothing");
    assert(this.stats.inFlight < operationsMax, "operations in flight are within the limit");
    completion.busy = true;
    this.stats.inFlight += 1;
    if (this.stats.inFlight > this.stats.inFlightMax) this.stats.inFlightMax = this.stats.inFlight;
    if (!this.stopping) return true;
    this.refused += 1;
    assert(
      this.refused <= operationsMax,
      "owners cease to start operations when these end canceled",
    );
    this.end(completion, Errno.canceled);
    return false;
  }

  /** The operation has ended; its owner hears of it in the next turn. */
  end(completion: Completion, result: number): void {
    assert(completion.busy, "an operation ends once");
    completion.result = result;
    this.ended.push(completion);
    this.schedule();
  }

  hold(): void {
    this.held += 1;
  }

  release(): void {
    assert(this.held > 0, "what is released was held");
    this.held -= 1;
    if (this.stopping) this.schedule();
  }

  private schedule(): void {
    if (this.scheduled || !this.started) return;
    this.scheduled = true;
    setImmediate(this.run);
  }

  private readonly run = (): void => {
    this.scheduled = false;
    // Counted before the first callback: what that one starts belongs to the next turn.
    for (let left = this.ended.length; left > 0; left -= 1) {
      const completion = this.ended.shift() as Completion;
      this.stats.inFlight -= 1;
      completion.busy = false;
      completion.onDone(completion);
    }
    if (!this.stopping) {
      this.onTurn();
      return;
    }
    if (this.stopped || this.stats.inFlight > 0 || this.held > 0) return;
    this.stopped = true;
    this.onStopped();
  };
}
