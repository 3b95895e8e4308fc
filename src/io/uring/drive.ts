/**
 * Who waits. Both drives take the same turns; they differ in what brings a turn about.
 *
 * *Owned*: the process belongs to the backend. A turn waits inside the ring, then lets libuv run
 * once (`setImmediate`), and so on. The addon ends a wait when libuv's descriptor becomes readable or
 * its next timer is due, so that timers, signals, HTTP and file system calls of Node's are served.
 * What another `setImmediate` callback has begun in the same round may wait as long as `waitMs`.
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

/** Bound of a wait, should something have to wake it that cannot. */
const waitMs = tickMs;

/** Rounds of a guest's turn, before the application's loop gets its share. */
const roundsMax = 8;

export class OwnedDrive implements Drive {
  private onTurn: () => void = () => {};

  constructor(private readonly engine: Engine) {}

  start(onTurn: () => void): void {
    this.onTurn = onTurn;
    const { engine } = this;
    const error = engine.addon.ringOwn(engine.ringId);
    if (error < 0) throw new Error(`the ring cannot wait: ${getSystemErrorName(error)}`);
    setImmediate(this.run);
  }

  private readonly run = (): void => {
    this.engine.turn(waitMs);
    this.onTurn();
    if (!this.engine.endIfStopped()) setImmediate(this.run);
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
