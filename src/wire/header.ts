/**
 * Message headers: the layout of the 128-byte frame that all commands share and of the 128
 * command-specific bytes, as offsets from the start of the message. Source of the client-facing
 * ones: protocol/wire.md §3 and §4; the replica-to-replica ones follow §11 there, with our own
 * additions to `prepare` for groups (several requests in one prepare).
 *
 * Read and write fields through these offsets: `words[at + prepareHeader.word.op]` and the like.
 */
import { defineLayout } from "../core/layout.ts";

export const Command = {
  reserved: 0,
  ping: 1,
  pong: 2,
  pingClient: 3,
  pongClient: 4,
  request: 5,
  prepare: 6,
  prepareOk: 7,
  reply: 8,
  commit: 9,
  exitView: 10,
  joinView: 11,
  getView: 13,
  getHeaders: 14,
  getPrepare: 15,
  getReply: 16,
  headers: 17,
  eviction: 18,
  getBlocks: 19,
  block: 20,
  view: 24,
} as const;

/** Commands 0…24 exist in some form; anything above was never defined. */
export const commandMax = 24;

export const EvictionReason = {
  noSession: 1,
  clientReleaseTooLow: 2,
  clientReleaseTooHigh: 3,
  invalidRequestOperation: 4,
  invalidRequestBody: 5,
  invalidRequestBodySize: 6,
  sessionTooLow: 7,
  sessionReleaseMismatch: 8,
} as const;

/** The first 128 bytes of every message. */
export const frame = defineLayout("frame", 128, [
  ["checksum", 16],
  ["checksumPadding", 16],
  ["checksumBody", 16],
  ["checksumBodyPadding", 16],
  ["nonceReserved", 16],
  ["cluster", 16],
  ["size", 4],
  ["epoch", 4],
  ["view", 4],
  ["release", 4],
  ["protocol", 2],
  ["command", 1],
  ["replica", 1],
  ["reservedFrame", 12],
]);

export const pingClientHeader = defineLayout(
  "ping_client",
  128,
  [
    ["client", 16],
    ["pingTimestampMonotonic", 8],
    ["session", 8],
    ["reserved", 96],
  ],
  128,
);

export const pongClientHeader = defineLayout(
  "pong_client",
  128,
  [
    ["pingTimestampMonotonic", 8],
    ["reserved", 120],
  ],
  128,
);

export const requestHeader = defineLayout(
  "request",
  128,
  [
    ["parent", 16],
    ["parentPadding", 16],
    ["client", 16],
    ["session", 8],
    ["timestamp", 8],
    ["request", 4],
    ["operation", 1],
    ["previousRequestLatencyPadding", 3],
    ["previousRequestLatency", 4],
    ["reserved", 52],
  ],
  128,
);

export const replyHeader = defineLayout(
  "reply",
  128,
  [
    ["requestChecksum", 16],
    ["requestChecksumPadding", 16],
    ["context", 16],
    ["contextPadding", 16],
    ["client", 16],
    ["op", 8],
    ["commit", 8],
    ["timestamp", 8],
    ["request", 4],
    ["operation", 1],
    ["reserved", 19],
  ],
  128,
);

export const evictionHeader = defineLayout(
  "eviction",
  128,
  [
    ["client", 16],
    ["reserved", 111],
    ["reason", 1],
  ],
  128,
);

/**
 * A prepare of one request carries that request's client, checksum, number and operation here and
 * its release in the frame. A group has operation `Operation.group`, zeros there, and the same
 * facts per request in a table at the start of its body (see group.ts); `requests` counts them.
 */
export const prepareHeader = defineLayout(
  "prepare",
  128,
  [
    ["parent", 16],
    ["parentPadding", 16],
    ["requestChecksum", 16],
    ["requestChecksumPadding", 16],
    ["checkpointId", 16],
    ["client", 16],
    ["op", 8],
    ["commit", 8],
    ["timestamp", 8],
    ["request", 4],
    ["operation", 1],
    ["requests", 1],
    ["reserved", 2],
  ],
  128,
);

/** One request inside a group's body. Bodies follow the table, in its order, back to back. */
export const groupEntry = defineLayout("group entry", 64, [
  ["requestChecksum", 16],
  ["client", 16],
  ["session", 8],
  ["request", 4],
  ["release", 4],
  /** Bytes of the request's body. */
  ["bodySize", 4],
  ["operation", 1],
  ["reserved", 11],
]);
