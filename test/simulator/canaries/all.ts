/** Every canary, by the part that it is wrong about. */
import type { Canary } from "./canary.ts";
import { consensusCanaries } from "./consensus.ts";
import { ackBeforeDurable, skipCheckpointSync, skipKeptReplies } from "./durability.ts";
import { shortRollback, wallClockExpiry } from "./ledger.ts";
import { forgetSessions, loseRepeatedReply } from "./sessions.ts";
import { anyAddress } from "./storage.ts";
import { forgetView, volatileView } from "./views.ts";

export const canaries: readonly Canary[] = [
  ackBeforeDurable,
  skipCheckpointSync,
  skipKeptReplies,
  forgetSessions,
  loseRepeatedReply,
  wallClockExpiry,
  shortRollback,
  anyAddress,
  volatileView,
  forgetView,
  ...consensusCanaries,
];
