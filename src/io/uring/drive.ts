/**
 * Who waits. Both drives take the same turns; they differ in what brings a turn about.
 *
 * *Owned*: the process belongs to the backend. In each round of its loop, after it has polled, libuv
 * calls; the turn waits inside the ring, and libuv goes round again. A wait ends when libuv's
 * descriptor becomes readable or its next timer is due, and is none while `setImmediate` callbacks
 * wait, so Node's timers, signals, HTTP and file system calls are served as ever.
 *
 * *Guest*: the process belongs to an application, whose loop waits. The ring adds to an eventfd that
 * libuv watches. What is started outside of a turn is flushed together, in a microtask.
 */
import { getSystemErrorName } from "node:util";
import { tickMs } from "../../core/limits.ts";
import { completionsMax, type Engine } from "./engine.ts";

export interface Drive {
  /** Begins; `onTurn` runs once per turn, after its completions. */
  start(onTurn: () => void): void;
}

/**
 * Bound of a wait: what one callback of Node's has just begun to watch is not in libuv's descriptor
 * before libuv polls again.
 */
const waitMs = tickMs;

/** Rounds of a guest's turn, before the application's loop gets its share. */
const roundsMax = 8;

export class OwnedDrive implements Drive {
  private onTurn: () => void = () => {};

  constructor(private readonly engine: Engine) {}

  start(onTurn: () => void): void {
    this.onTurn = onTurn;
    const { engine } = this;
    const error = engine.addon.ringOwn(engine.ringId, this.run);
    if (error < 0) throw new Error(`the ring cannot wait: ${getSystemErrorName(error)}`);
  }

  private readonly run = (): boolean => {
    const { engine } = this;
    engine.turn(waitMs);
    this.onTurn();
    if (engine.endIfStopped()) return false;
    // What was started goes out at once, unless libuv has something to do.
    return engine.slots.queued && !engine.hostWaits;
  };
}

export class GuestDrive implements Drive {
  private onTurn: () => void = () => {};
  private scheduled = false;

  constructor(private readonly engine: Engine) {}

  start(onTurn: () => void): void {
    this.onTurn = onTurn;
    const { engine } = this;
    const error = engine.addon.ringWatch(engine.ringId, this.onReadable);
    if (error < 0) throw new Error(`the ring cannot be watched: ${getSystemErrorName(error)}`);
    engine.onQueued = () => this.schedule();
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(this.onScheduled);
  }

  private readonly onScheduled = (): void => {
    this.scheduled = false;
    this.run();
  };

  private readonly onReadable = (): void => {
    this.run();
  };

  private run(): void {
    const { engine } = this;
    for (let round = 1; !engine.isStopped; round += 1) {
      const count = engine.turn(0);
      this.onTurn();
      if (engine.endIfStopped()) return;
      if (count < completionsMax && !engine.slots.queued) return;
      if (round === roundsMax) {
        if (!this.scheduled) setImmediate(this.onScheduled);
        this.scheduled = true;
        return;
      }
    }
  }
}
