/**
 * Deliberate mistakes, switched on by name, that the simulator must find: each changes one method
 * of a composed replica. A checker that has never caught anything proves nothing.
 */
import type { ReplicaParts } from "../../../src/consensus/open-replica.ts";
import type { Place } from "../place.ts";
import type { Simulation } from "../simulation.ts";

export interface CanaryContext {
  readonly place: Place;
  readonly simulation: Simulation;
}

export interface Canary {
  readonly name: string;
  /** The mistake, in one clause. */
  readonly what: string;
  /** Fewest replicas with which it can show. */
  readonly replicasMin: number;
  /** Called for every incarnation of every replica, before it opens its file. */
  install(parts: ReplicaParts, context: CanaryContext): void;
}

/** Calls back later, unless the process has died by then. */
export function later(context: CanaryContext, callback: () => void): void {
  const { place, simulation } = context;
  const { generation } = place;
  simulation.callbacks.after(0, () => {
    if (generation === place.generation) callback();
  });
}
