/** Every canary, by the part that it is wrong about. */
import type { Canary } from "./canary.ts";
import { consensusCanaries } from "./consensus.ts";
import {
  ackBeforeDurable,
  believeRottenPrepare,
  skipCheckpointSync,
  skipKeptReplies,
} from "./durability.ts";
import { shortRollback, wallClockExpiry } from "./ledger.ts";
import { runCanaries } from "./runs.ts";
import { evictYoungest, forgetSessions, loseRepeatedReply } from "./sessions.ts";
import { anyAddress, reuseBlocksEarly } from "./storage.ts";
import { forgetView, volatileView } from "./views.ts";

export const canaries: readonly Canary[] = [
  ackBeforeDurable,
  skipCheckpointSync,
  skipKeptReplies,
  believeRottenPrepare,
  forgetSessions,
  loseRepeatedReply,
  evictYoungest,
  wallClockExpiry,
  shortRollback,
  anyAddress,
  reuseBlocksEarly,
  volatileView,
  forgetView,
  ...consensusCanaries,
  ...runCanaries,
];
