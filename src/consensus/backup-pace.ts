/**
 * Flow control: how long a primary holds its next prepare back, so that backups which are up can keep
 * up. A quorum commits without the slowest; what that one's connection and journal cannot take is dropped
 * and repaired, until the journals have moved on and only a state sync helps.
 *
 * A backup counts while its acknowledgements come in, and while it is not so far behind that holding back
 * would not save it. The wait is short whatever happens: a slow backup slows its cluster, and never
 * stops it.
 */
import { pipelinePrepareMax } from "../core/limits.ts";
import type { ReplicaState } from "./replica-state.ts";

/** A backup that has acknowledged nothing for so many ticks is not waited for: 1 s. */
const silentTicks = 100;

/** Ticks that a prepare waits at most: 40 ms. */
const waitTicksMax = 4;

export class BackupPace {
  /** What each replica had executed when it last acknowledged something, and when that was. */
  private readonly executed: Float64Array;
  private readonly heardTicks: Float64Array;
  private ticks = 0;
  /** Ops of lag for which a prepare waits one tick. */
  private readonly step: number;
  private readonly lagMax: number;

  constructor(
    private readonly state: ReplicaState,
    checkpointInterval: number,
  ) {
    this.executed = new Float64Array(state.replicaCount);
    this.heardTicks = new Float64Array(state.replicaCount).fill(-Infinity);
    this.step = Math.max(2 * pipelinePrepareMax, Math.floor(checkpointInterval / 4));
    this.lagMax = 3 * checkpointInterval;
  }

  /** A view begins, whose backups have acknowledged nothing yet. */
  reset(): void {
    this.heardTicks.fill(-Infinity);
  }

  tick(): void {
    this.ticks += 1;
  }

  /** @param executed - What the replica had executed when it acknowledged. */
  heard(replica: number, executed: number): void {
    this.executed[replica] = executed;
    this.heardTicks[replica] = this.ticks;
  }

  /** Ticks that the next prepare is to wait. */
  get waitTicks(): number {
    const { commitMin, replica: own, replicaCount } = this.state;
    let worst = 0;
    for (let replica = 0; replica < replicaCount; replica += 1) {
      if (replica === own || this.ticks - this.heardTicks[replica]! > silentTicks) continue;
      const lag = commitMin - this.executed[replica]!;
      if (lag > worst && lag <= this.lagMax) worst = lag;
    }
    return Math.min(waitTicksMax, Math.floor(worst / this.step));
  }
}
