/** Mistakes about clients and the promise that each request is executed once. */
import type { Canary } from "./canary.ts";

export const forgetSessions: Canary = {
  name: "forget-sessions",
  what: "a restart begins with an empty session table",
  replicasMin: 1,
  install(parts) {
    parts.sessions.restore = () => true;
  },
};

export const loseRepeatedReply: Canary = {
  name: "lose-repeated-reply",
  what: "a request that comes again is not answered",
  replicasMin: 1,
  install(parts) {
    const { port } = parts.replica as unknown as { port: { repeatReply(slot: number): void } };
    port.repeatReply = () => {};
  },
};

export const evictYoungest: Canary = {
  name: "evict-youngest",
  what: "a new session pushes out the one that was used last",
  replicasMin: 1,
  install({ sessions }) {
    const isOlder = sessions["isOlder"].bind(sessions);
    sessions["isOlder"] = (slot, other) => !isOlder(slot, other);
  },
};
