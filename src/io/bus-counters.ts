/**
 * Why the message bus closed connections and dropped messages: one counter per cause, for metrics
 * and for the log line that names the cause.
 */

export const CloseCause = {
  /** The peer ended its side; also when it ended in the middle of a frame. */
  peerClosed: 0,
  /** The socket failed (reset, timed out by the kernel, …). */
  socketError: 1,
  headerChecksum: 2,
  bodyChecksum: 3,
  /** Command 0, or one that was never defined. */
  command: 4,
  size: 5,
  cluster: 6,
  /** The message contradicts who the peer is known to be. */
  peerContradiction: 7,
  /** A replica index outside the cluster, or our own. */
  replicaIndex: 8,
  /** The same client or replica came back on another connection. */
  replaced: 9,
  /** A frame was begun and not finished in time. */
  receiveTimeout: 10,
  /** The peer does not take what is sent to it. */
  sendTimeout: 11,
  /** Every connection was taken, and this one had never sent a message. */
  silent: 12,
  /** One client too many: the remaining connections are for replicas. */
  limit: 13,
  /** Messages to send from had run out, and this client was slowest to take what it was sent. */
  slowReader: 14,
  /** Closed by the replica. */
  requested: 15,
  /** The bus is closing. */
  shutdown: 16,
} as const;

const closeTexts = [
  "closed by the peer",
  "socket error",
  "bad header checksum",
  "bad body checksum",
  "unknown command",
  "impossible size",
  "wrong cluster",
  "message contradicts the peer's identity",
  "replica index outside the cluster",
  "replaced by a newer connection",
  "unfinished message timed out",
  "peer does not read",
  "silent while connections ran out",
  "all client connections are taken",
  "reads too slowly while messages ran out",
  "closed by this replica",
  "shutting down",
];

export const closeCauseCount = closeTexts.length;

/** For people. */
export function closeText(cause: number): string {
  return closeTexts[cause] ?? "unknown cause";
}

export const DropCause = {
  /** A header rule of the protocol was violated. */
  headerRule: 0,
  /** A command number that was given up. */
  deprecatedCommand: 1,
  /** A message that only clients act on. */
  unexpectedCommand: 2,
  /** The connection's queue was full. */
  sendQueueFull: 3,
  /** No connection to the client or replica. */
  notConnected: 4,
} as const;

export const dropCauseCount = 5;

/** Counts since start. */
export class BusCounters {
  /** Connections accepted and kept; dialled and connected. */
  accepted = 0;
  dialled = 0;
  dialsFailed = 0;
  /** Accepted and closed at once: every connection was taken. */
  refused = 0;
  acceptErrors = 0;
  messagesReceived = 0;
  bytesReceived = 0;
  messagesSent = 0;
  bytesSent = 0;
  /** Times a connection stopped reading for want of a free message. */
  receiveWaits = 0;
  /** By `CloseCause`. */
  readonly closes = new Float64Array(closeCauseCount);
  /** By `DropCause`. */
  readonly drops = new Float64Array(dropCauseCount);
}
