/** Mistakes about what is on stable storage, and when. */
import type { IoBuffer } from "../../../src/io/io.ts";
import { largeMessageSize } from "../../../src/io/message-pool.ts";
import { frame } from "../../../src/wire/header.ts";
import { memoryBuffer } from "../../wal/memory-file-io.ts";
import { type Canary, later } from "./canary.ts";

export const ackBeforeDurable: Canary = {
  name: "ack-before-durable",
  what: "a prepare counts as durable as soon as its write was submitted",
  replicasMin: 1,
  install(parts, context) {
    const { journal } = parts;
    const writePrepare = journal.writePrepare.bind(journal);
    const spare: IoBuffer[] = [];
    journal.writePrepare = (buffer, onDurable) => {
      // A copy, since the message is free for others as soon as the op was executed.
      const copy = spare.pop() ?? memoryBuffer(largeMessageSize);
      copy.bytes.set(buffer.bytes.subarray(0, buffer.words[frame.word.size]!));
      writePrepare(copy, () => spare.push(copy));
      later(context, onDurable);
    };
  },
};

export const skipCheckpointSync: Canary = {
  name: "skip-checkpoint-sync",
  what: "the superblock moves to a checkpoint whose blocks were not synced",
  replicasMin: 1,
  install(parts, context) {
    parts.storage.grid.sync = (onSynced) => later(context, onSynced);
  },
};

export const skipKeptReplies: Canary = {
  name: "skip-kept-replies",
  what: "a checkpoint does not write the kept replies",
  replicasMin: 1,
  install(parts, context) {
    parts.replies.write = (_slot, _buffer, _at, onWritten) => later(context, onWritten);
  },
};

export const believeRottenPrepare: Canary = {
  name: "believe-rotten-prepare",
  what: "a prepare that is read back from the journal is not verified",
  replicasMin: 3,
  install({ journal }) {
    journal["reads"]["intact"] = () => true;
  },
};
