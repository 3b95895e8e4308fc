/** Mistakes of the state machine. */
import { Operation } from "../../../src/wire/operations.ts";
import type { Canary } from "./canary.ts";

export const wallClockExpiry: Canary = {
  name: "wall-clock-expiry",
  what: "pending transfers expire by the replica's own clock instead of the log's timestamps",
  replicasMin: 1,
  install(parts, { place }) {
    const { stateMachine } = parts;
    const prefetch = stateMachine.prefetch.bind(stateMachine);
    const wall = new Uint32Array(2);
    stateMachine.prefetch = (operation, low, high, ...rest) => {
      if (operation !== Operation.pulse) return prefetch(operation, low, high, ...rest);
      place.clock.wallNs(wall, 0);
      return prefetch(operation, wall[0]!, wall[1]!, ...rest);
    };
  },
};

interface UndoParts {
  accountCopyCount: number;
  rollBack(): void;
}

export const shortRollback: Canary = {
  name: "short-rollback",
  what: "a broken chain of linked events leaves its last change of an account",
  replicasMin: 1,
  install(parts) {
    const { state } = parts.stateMachine as unknown as { state: { undo: UndoParts } };
    const { undo } = state;
    const rollBack = undo.rollBack.bind(undo);
    undo.rollBack = () => {
      if (undo.accountCopyCount > 0) undo.accountCopyCount -= 1;
      rollBack();
    };
  },
};
