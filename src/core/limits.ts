/**
 * Every limit that more than one layer shares, and how they relate. Limits that are part of the
 * data file's format are recorded in its superblock as well (see wal/data-file.ts).
 */
import { assert } from "./assert.ts";

/** Unit of Direct I/O: buffers, offsets and lengths of file I/O are multiples of it. Bytes. */
export const sectorSize = 4096;

/** Every message starts with a header of this size. Bytes. */
export const headerSize = 256;

/** Header and body together. Bytes. */
export const messageSizeMax = 1024 * 1024;

/** Bytes. */
export const messageBodySizeMax = messageSizeMax - headerSize;

/** Prepares in flight. More hides disk latency; fewer shorten view changes. */
export const pipelinePrepareMax = 8;

/**
 * Prepares that may wait behind the pipeline; each may be a group of requests. A request that finds
 * the queue full is dropped and comes again only with its client's retry, hence the room for as
 * many clients as usually ask at once when requests do not share prepares.
 */
export const pipelineRequestQueueMax = 64;

/** Requests that may share one prepare. */
export const groupRequestsMax = 64;

/** Client sessions: default and upper bound of the format option `--clients-max`. */
export const clientsMaxDefault = 256;
export const clientsMaxLimit = 4096;

/** Largest reply body of an operation that changes state, hence the largest one kept. Bytes. */
export const replyBodyKeptMax = 245_728;

/** Room for one kept reply (header and body), in memory and in the replies zone. Bytes. */
export const replySlotSize = 256 * 1024;

/** Headers of the log's end that a view change makes durable: a pipeline, one more, two older. */
export const viewHeadersMax = pipelinePrepareMax + 3;

/** What all replicas agree on at a checkpoint, in the superblock and in `view` messages. Bytes. */
export const checkpointStateSize = 1024;

/** Voting replicas, and standbys beside them. */
export const replicasMax = 6;
export const standbysMax = 6;

/** Grid block, header included. Bytes. */
export const blockSize = 64 * 1024;

/** Page of a paged table. Bytes. */
export const pageSize = 4096;

/** A tick of the replica's logical clock. Milliseconds. */
export const tickMs = 10;

assert(headerSize + replyBodyKeptMax <= replySlotSize, "a kept reply fits its slot");
assert(messageSizeMax % sectorSize === 0, "the largest message is whole sectors");
assert(blockSize % pageSize === 0, "pages pack into blocks");
assert(pageSize % sectorSize === 0, "a page can be read by itself");
