/**
 * Headers of the messages between replicas: layouts of their 128 command-specific bytes (after the
 * frame of header.ts). They follow protocol/wire.md §11 where that has the same message; sizes and
 * bodies are stated at each. Everything that is not named is zero and checked, the frame's release
 * included.
 *
 * Ops fit 53 bits; timestamps are 64-bit nanoseconds in two words.
 */
import { defineLayout } from "../core/layout.ts";
import {
  blockSize,
  checkpointStateSize,
  headerSize,
  pipelinePrepareMax,
  viewHeadersMax,
} from "../core/limits.ts";

/** Sent to every replica, at start and then periodically. No body. */
export const pingHeader = defineLayout(
  "ping",
  128,
  [
    /** Id and op of the sender's latest durable checkpoint. */
    ["checkpointId", 16],
    ["checkpointOp", 8],
    /** The sender's monotonic clock, nanoseconds. */
    ["monotonic", 8],
    /** Checksum of the root prepare: what replicas of one cluster were formatted with alike. */
    ["formatId", 16],
    ["replicaCount", 1],
    /** 1: the sender's file replaces a lost one, so that it has no vote yet; otherwise 0. */
    ["voteless", 1],
    ["reserved", 78],
  ],
  128,
);

/** Answer to a ping. No body. */
export const pongHeader = defineLayout(
  "pong",
  128,
  [
    /** Of the ping that is answered. */
    ["monotonic", 8],
    /** The sender's wall clock, nanoseconds. */
    ["wall", 8],
    ["reserved", 112],
  ],
  128,
);

/** The sender holds this prepare durably. No body. The view is the sender's at that time. */
export const prepareOkHeader = defineLayout(
  "prepare_ok",
  128,
  [
    ["prepareChecksum", 16],
    ["op", 8],
    /** Last op that the sender has executed. */
    ["commitMin", 8],
    /** Op of the sender's latest durable checkpoint. */
    ["checkpointOp", 8],
    ["reserved", 88],
  ],
  128,
);

/** Heartbeat of the primary. No body. */
export const commitHeader = defineLayout(
  "commit",
  128,
  [
    /** Checksum of the prepare of op `commit`. */
    ["commitChecksum", 16],
    ["commit", 8],
    ["checkpointOp", 8],
    ["checkpointId", 16],
    ["reserved", 80],
  ],
  128,
);

/** A vote to leave the frame's view. No body. */
export const exitViewHeader = defineLayout("exit_view", 128, [["reserved", 128]], 128);

/**
 * What the sender knows of the log's end. Body: prepare headers of ops `op`, `op` − 1 …, at most
 * `joinHeadersMax`, with blanks (operation 0, the op, everything else zero) for unknown ones. Bit i of
 * the sets speaks of header i of the body.
 */
export const joinViewHeader = defineLayout(
  "join_view",
  128,
  [
    ["op", 8],
    ["commitMin", 8],
    /** Highest op that the sender knows to be committed. */
    ["commitMax", 8],
    ["checkpointOp", 8],
    ["logView", 4],
    ["present", 4],
    ["nack", 4],
    ["reserved", 84],
  ],
  128,
);

/**
 * The log of a view, from its primary, or as far as a backup has it. Body: checkpoint state (1,024 bytes),
 * then prepare headers, highest op first, consecutive, at most `viewHeadersMax`.
 */
export const viewHeader = defineLayout(
  "view",
  128,
  [
    /** Of the get_view that is answered; zero when nobody asked. */
    ["nonce", 16],
    ["op", 8],
    ["commitMax", 8],
    /** Op of the checkpoint in the body, durable on the sender. */
    ["checkpointOp", 8],
    /** 1: answers one that can not open; what it says of log and view is nothing to go by. */
    ["checkpointOnly", 4],
    ["reserved", 84],
  ],
  128,
);

/** Asks for `view`. No body. The frame's view is the sender's. */
export const getViewHeader = defineLayout(
  "get_view",
  128,
  [
    ["nonce", 16],
    /** 1: the sender can not open its file, and wants a newer checkpoint of anybody's. */
    ["opening", 4],
    ["reserved", 108],
  ],
  128,
);

/** Asks for prepare headers of ops opMin … opMax. No body. */
export const getHeadersHeader = defineLayout(
  "get_headers",
  128,
  [
    ["opMin", 8],
    ["opMax", 8],
    ["reserved", 112],
  ],
  128,
);

/** Body: prepare headers, 1 … `headersMax`, highest op first. */
export const headersHeader = defineLayout("headers", 128, [["reserved", 128]], 128);

/** Asks for one prepare, named by its checksum. No body; answered with `prepare` or not at all. */
export const getPrepareHeader = defineLayout(
  "get_prepare",
  128,
  [
    ["prepareChecksum", 16],
    ["op", 8],
    ["reserved", 104],
  ],
  128,
);

/** Asks for a kept reply. No body; answered with `reply` or not at all. */
export const getReplyHeader = defineLayout(
  "get_reply",
  128,
  [
    ["replyChecksum", 16],
    ["client", 16],
    ["op", 8],
    ["reserved", 88],
  ],
  128,
);

/** Asks for blocks of the grid. Body: `blockRequestSize` bytes each, 1 … `blockRequestsMax`. */
export const getBlocksHeader = defineLayout("get_blocks", 128, [["reserved", 128]], 128);

export const blockRequest = defineLayout("block request", 32, [
  ["checksum", 16],
  ["address", 8],
  ["reserved", 8],
]);

/**
 * One block of the grid. Body: the block as it lies on disk; or nothing, which says that the sender does
 * not have the block with this address and checksum.
 */
export const blockHeader = defineLayout(
  "block",
  128,
  [
    ["blockChecksum", 16],
    ["address", 8],
    ["reserved", 104],
  ],
  128,
);

/** Headers in a join_view: as many as may be uncommitted, and the one before. */
export const joinHeadersMax = pipelinePrepareMax + 1;

/** Headers in one `headers` message, which is to fit a small message of the pool. */
export const headersMax = 60;

/** Block requests in one `get_blocks`. */
export const blockRequestsMax = 4;

/** Bytes of the largest messages with a body, and of `block`. */
export const joinViewSizeMax = headerSize * (1 + joinHeadersMax);
export const viewSizeMax = headerSize * (1 + viewHeadersMax) + checkpointStateSize;
export const headersSizeMax = headerSize * (1 + headersMax);
export const getBlocksSizeMax = headerSize + blockRequestsMax * blockRequest.size;
export const blockMessageSize = headerSize + blockSize;
