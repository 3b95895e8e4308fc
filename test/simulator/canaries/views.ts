/** Mistakes about the view that a replica is in, and what its disk says of it. */
import { type Canary, later } from "./canary.ts";

export const volatileView: Canary = {
  name: "volatile-view",
  what: "a replica takes part in a view before that is durable",
  replicasMin: 3,
  install(parts, context) {
    Object.defineProperty(parts.replica, "viewDurable", { get: () => true });
    const { superblock } = parts;
    const updateView = superblock.updateView.bind(superblock);
    const updateRecovered = superblock.updateRecovered.bind(superblock);
    let writing = false;
    let next: (() => void) | null = null;
    const written = (): void => {
      writing = false;
      const waiting = next;
      next = null;
      waiting?.();
    };
    superblock.updateView = (view, logView, commitMax, headers, count, onDone) => {
      const copy = headers.slice();
      const write = (): void => {
        writing = true;
        updateView(view, logView, commitMax, copy, count, written);
      };
      if (writing) next = write;
      else write();
      later(context, onDone);
    };
    // The end of a rebuilding waits for its turn, and is as it should be.
    superblock.updateRecovered = (view, logView, commitMax, headers, count, onDone) => {
      const copy = headers.slice();
      const write = (): void => {
        writing = true;
        updateRecovered(view, logView, commitMax, copy, count, () => {
          written();
          onDone();
        });
      };
      if (writing) next = write;
      else write();
    };
  },
};

export const forgetView: Canary = {
  name: "forget-view",
  what: "a restart begins in the view before the one that was voted for",
  replicasMin: 3,
  install(parts) {
    const { replica } = parts;
    const startAt = replica.startAt.bind(replica);
    replica.startAt = (...args) => {
      startAt(...args);
      if (replica.view > 0) replica.view -= 1;
      replica.logView = Math.min(replica.logView, replica.view);
    };
  },
};
