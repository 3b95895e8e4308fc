/**
 * No operation hangs: once the faults on the core have ended, every request is answered (or its
 * client told that its session is gone) within a bound of simulated time.
 */
import type { Fail } from "./history.ts";

interface Waiting {
  readonly name: string;
  readonly sinceUs: number;
}

export class Liveness {
  private readonly waiting = new Map<number, Waiting>();
  private healedUs: number | null = null;
  /** The longest wait of a request after the faults ended. Microseconds. */
  longestUs = 0;

  /** @param boundUs - From the later of the heal and the first transmission. */
  constructor(
    private readonly boundUs: number,
    private readonly fail: Fail,
  ) {}

  /** No client waits for anything. */
  get idle(): boolean {
    return this.waiting.size === 0;
  }

  /** A client has sent a request for the first time. */
  began(client: number, name: string, nowUs: number): void {
    this.waiting.set(client, { name, sinceUs: nowUs });
  }

  /** Its wait has ended, in whichever way. */
  ended(client: number, nowUs: number): void {
    const waiting = this.waiting.get(client);
    if (waiting === undefined) return;
    this.waiting.delete(client);
    this.longestUs = Math.max(this.longestUs, this.waitedUs(waiting, nowUs));
  }

  healed(nowUs: number): void {
    this.healedUs = nowUs;
  }

  private waitedUs(waiting: Waiting, nowUs: number): number {
    if (this.healedUs === null) return 0;
    return nowUs - Math.max(this.healedUs, waiting.sinceUs);
  }

  /** At any time; often enough that a hang is seen soon. */
  check(nowUs: number): void {
    if (this.healedUs === null) return;
    for (const [client, waiting] of this.waiting) {
      if (this.waitedUs(waiting, nowUs) <= this.boundUs) continue;
      this.fail(
        `${waiting.name} of client ${client} has waited for ` +
          `${Math.round(this.waitedUs(waiting, nowUs) / 1000)} ms since faults ended`,
      );
    }
  }

  /** The run is over: nobody may wait. */
  finish(): void {
    for (const [client, { name }] of this.waiting) {
      this.fail(`${name} of client ${client} was never answered`);
    }
  }
}
