/**
 * Between the choice of the log by a new primary and the beginning of its view: what is committed is
 * executed, what is missing is fetched, and what others may still commit is loaded into the pipeline.
 *
 * Invariant: the view begins with everything committed executed here, and all the rest of the log
 * durable here: a quorum of acknowledgements may count this replica's own at once.
 */
import type { ClientRequests } from "./client-requests.ts";
import type { Execution } from "./execution.ts";
import type { HeaderChain } from "./header-chain.ts";
import type { LogRepair } from "./log-repair.ts";
import type { Primary } from "./primary.ts";
import { type ReplicaState, Status } from "./replica-state.ts";
import type { ViewChange } from "./view-change.ts";

export interface TakingOverOptions {
  readonly state: ReplicaState;
  readonly chain: HeaderChain;
  readonly execution: Execution;
  readonly repair: LogRepair;
  readonly primary: Primary;
  readonly viewChange: ViewChange;
  readonly requests: ClientRequests;
}

export class TakingOver {
  /** The log is chosen and durable as it is: the view begins when that is repaired and executed. */
  private active = false;

  constructor(private readonly options: TakingOverOptions) {}

  /** A new primary whose log is durable. */
  start(): void {
    this.active = true;
    this.options.execution.drain();
    this.run();
  }

  stop(): void {
    this.active = false;
  }

  /** Goes on: something was executed, or became durable, or time has passed. */
  readonly run = (): void => {
    const { state, primary } = this.options;
    if (!this.active || state.status !== Status.viewChange) return;
    if (!this.hasAll()) {
      this.options.repair.run();
      return;
    }
    if (!primary.load(this.run)) return;
    this.active = false;
    this.options.viewChange.beginAsPrimary();
    primary.begin();
    this.options.requests.onPrimary();
    primary.pulseIfDue();
  };

  /** All that is committed is executed, and all the rest is durable here. */
  private hasAll(): boolean {
    const { state, chain, execution } = this.options;
    if (state.commitMin < state.commitMax || !execution.idle) return false;
    for (let op = state.commitMin + 1; op <= state.op; op += 1) {
      if (!chain.trusts(op) || !state.journal.hasPrepare(op)) return false;
    }
    return true;
  }
}
