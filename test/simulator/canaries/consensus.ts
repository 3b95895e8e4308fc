/** Mistakes about who holds what, and who may say so: what only several replicas can get wrong. */
import { NewLog } from "../../../src/consensus/new-log.ts";
import { u64ReadNumber, u128Copy } from "../../../src/core/u128.ts";
import { frame, prepareHeader } from "../../../src/wire/header.ts";
import { getPrepareHeader } from "../../../src/wire/replica-headers.ts";
import type { Canary } from "./canary.ts";

export const countAckTwice: Canary = {
  name: "count-ack-twice",
  what: "an acknowledgement counts for its sender and for the next replica too",
  replicasMin: 3,
  install({ replica }) {
    const { primary } = replica;
    const acknowledge = primary["acknowledge"].bind(primary);
    primary["acknowledge"] = (op, words, checksumAt, from) => {
      acknowledge(op, words, checksumAt, (from + 1) % replica.replicaCount);
      acknowledge(op, words, checksumAt, from);
    };
  },
};

export const commitAlone: Canary = {
  name: "commit-alone",
  what: "a primary commits what it alone has on disk",
  replicasMin: 2,
  install({ replica }) {
    Object.defineProperty(replica, "quorums", { value: { ...replica.quorums, replication: 1 } });
  },
};

export const ackOldView: Canary = {
  name: "ack-old-view",
  what: "a replica that has gone on acknowledges prepares of a view before, in that view",
  replicasMin: 3,
  install({ replica }) {
    const following = replica["following"];
    const onPrepare = following.onPrepare.bind(following);
    following.onPrepare = (message) => {
      const view = message.words[frame.word.view]!;
      const author = message.bytes[frame.at.replica]!;
      if (view < replica.view && author !== replica.replica) {
        const present = replica.view;
        replica.view = view;
        replica["peers"].prepareOk(author, message.words, 0);
        replica.view = present;
      }
      onPrepare(message);
    };
  },
};

export const dropWithoutNacks: Canary = {
  name: "drop-without-nacks",
  what: "a new primary drops an op that one replica says it never acknowledged",
  replicasMin: 3,
  install({ replica }) {
    const log = replica.viewChange["newLog"];
    const decide = NewLog.prototype.decide;
    log.decide = (ends) => decide.call(log, ends, 1);
  },
};

export const nackLost: Canary = {
  name: "nack-lost",
  what: "a replica nacks a prepare that it acknowledged and lost",
  replicasMin: 3,
  install({ journal }) {
    journal.isFaulty = () => false;
  },
};

export const trustStaleHeaders: Canary = {
  name: "trust-stale-headers",
  what: "a header is believed without being connected to the log's head",
  replicasMin: 3,
  install({ replica, journal }) {
    replica["chain"].trusts = (op) => op <= replica.op && journal.hasHeader(op);
  },
};

export const repairByOp: Canary = {
  name: "repair-by-op",
  what: "a missing prepare is answered and taken by its op, whatever its checksum",
  replicasMin: 3,
  install({ replica, journal }) {
    const { repair } = replica;
    const wants = repair.wants.bind(repair);
    repair.wants = (op, message) => {
      if (wants(op, message)) return true;
      if (op > replica.op || op <= replica.commitMin || !journal.canWrite(op)) return false;
      return !journal.hasPrepare(op);
    };
    const onGetPrepare = repair.onGetPrepare.bind(repair);
    repair.onGetPrepare = (message) => {
      const { words } = message;
      const op = u64ReadNumber(words, getPrepareHeader.word.op);
      const at = getPrepareHeader.word.prepareChecksum;
      if (journal.hasHeader(op)) u128Copy(words, at, journal.headers, journal.headerAt(op));
      onGetPrepare(message);
    };
  },
};

export const smallViewQuorum: Canary = {
  name: "small-view-quorum",
  what: "a new primary chooses the log from its own journal alone",
  replicasMin: 3,
  install({ replica }) {
    Object.defineProperty(replica, "quorums", {
      value: { ...replica.quorums, viewChange: 1, nack: 1 },
    });
  },
};

export const keepStaleOps: Canary = {
  name: "keep-stale-ops",
  what: "a restart brings back ops that a view change had cut off",
  replicasMin: 3,
  install({ journal }) {
    journal.removeStale = () => {};
    journal.removeUnlessOf = () => {};
  },
};

export const forgetRequestsInLog: Canary = {
  name: "forget-requests-in-log",
  what: "a new primary does not know whose requests wait in the log that it took over",
  replicasMin: 3,
  install({ replica }) {
    replica.primary["noteClients"] = () => {};
  },
};

export const takeRequestTwice: Canary = {
  name: "take-request-twice",
  what: "a request is prepared again while its first prepare is on its way",
  replicasMin: 1,
  install({ replica }) {
    replica.primary.inFlight = () => false;
  },
};

export const timeGoesBack: Canary = {
  name: "time-goes-back",
  what: "a new primary takes timestamps from its clock alone, whatever the log says",
  replicasMin: 3,
  install({ replica }) {
    const adoptHead = replica.adoptHead.bind(replica);
    replica.adoptHead = (op, words, at) => {
      adoptHead(op, words, at);
      replica.lastTimestamp.fill(0);
    };
  },
};

export const executeUncommitted: Canary = {
  name: "execute-uncommitted",
  what: "a backup executes a prepare as soon as it arrives",
  replicasMin: 3,
  install({ replica }) {
    const { onNext } = replica["backup"];
    replica["backup"].onNext = (message) => {
      const took = onNext.call(replica["backup"], message);
      if (took) replica.learnCommit(u64ReadNumber(message.words, prepareHeader.word.op));
      return took;
    };
  },
};

export const rebuiltVotes: Canary = {
  name: "rebuilt-votes",
  what: "a replica whose file was lost takes full part at once, although it has forgotten everything",
  replicasMin: 3,
  install({ superblock }) {
    Object.defineProperty(superblock, "recovering", { value: false });
  },
};

export const consensusCanaries: readonly Canary[] = [
  countAckTwice,
  commitAlone,
  ackOldView,
  dropWithoutNacks,
  nackLost,
  trustStaleHeaders,
  repairByOp,
  smallViewQuorum,
  keepStaleOps,
  forgetRequestsInLog,
  takeRequestTwice,
  timeGoesBack,
  executeUncommitted,
  rebuiltVotes,
];
