/**
 * A prepare as the checkers read it: which requests it holds, and the timestamp of each. Written
 * from the layouts alone (wire/header.ts) and slowly, so that a mistake in the replica's own reader
 * (consensus/prepare-requests.ts) shows as a difference in timestamps or replies.
 *
 * The rule for timestamps: every request is stamped as if it were an op of its own. With base the
 * time before the prepare, request i of n gets base + Σ(deltas up to i) + i (i from 0), and the
 * header carries the last one.
 */
import { checksumMatches } from "../../../src/native/checksum.ts";
import { Command, frame, groupEntry, prepareHeader } from "../../../src/wire/header.ts";
import { Operation, timestampDelta } from "../../reference/operations.ts";

const headerSize = 256;
const operationGroup = 8;
const requestsMax = 64;

export interface ObservedRequest {
  /** Hexadecimal; empty for a prepare that no client asked for (pulse). */
  readonly client: string;
  /** As the group's table says; null in a plain prepare, which does not say. */
  readonly session: number | null;
  readonly request: number;
  /** Hexadecimal. */
  readonly checksum: string;
  readonly release: number;
  readonly operation: number;
  readonly timestamp: bigint;
  /** A copy. */
  readonly body: Uint8Array;
}

export interface ObservedPrepare {
  readonly op: number;
  readonly view: number;
  /** Index of the primary that wrote it. */
  readonly author: number;
  /** Hexadecimal, as is `parent`. */
  readonly checksum: string;
  readonly parent: string;
  /** What its author knew to be committed. */
  readonly commit: number;
  readonly checkpointId: string;
  /** The time that its requests' timestamps start from: below all of them. */
  readonly base: bigint;
  readonly timestamp: bigint;
  readonly requests: readonly ObservedRequest[];
}

export function hex(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, 16).toString("hex");
}

const zeros = "0".repeat(32);

/** The prepare, or a sentence that says why it is none. */
export function readPrepare(bytes: Uint8Array): ObservedPrepare | string {
  if (bytes.length < headerSize) return `a prepare of ${bytes.length} bytes`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes[frame.at.command] !== Command.prepare) return "not a prepare";
  if (view.getUint32(frame.at.size, true) !== bytes.length) return "its size is not its length";
  const checkedAt = frame.at.checksumPadding;
  if (!checksumMatches(bytes, 0, bytes, checkedAt, headerSize - checkedAt)) {
    return "its header's checksum is wrong";
  }
  const bodySize = bytes.length - headerSize;
  if (!checksumMatches(bytes, frame.at.checksumBody, bytes, headerSize, bodySize)) {
    return "its body's checksum is wrong";
  }
  const operation = bytes[prepareHeader.at.operation]!;
  const timestamp = view.getBigUint64(prepareHeader.at.timestamp, true);
  const requests =
    operation === operationGroup ? groupRequests(bytes, view) : [plainRequest(bytes, view)];
  if (typeof requests === "string") return requests;

  let span = BigInt(requests.length - 1);
  for (const { operation, body } of requests) span += BigInt(timestampDelta(operation, body));
  const base = timestamp - span;
  let last = base - 1n;
  const stamped = requests.map((request) => {
    last += 1n + BigInt(timestampDelta(request.operation, request.body));
    return { ...request, timestamp: last };
  });
  return {
    op: Number(view.getBigUint64(prepareHeader.at.op, true)),
    view: view.getUint32(frame.at.view, true),
    author: bytes[frame.at.replica]!,
    checksum: hex(bytes, frame.at.checksum),
    parent: hex(bytes, prepareHeader.at.parent),
    commit: Number(view.getBigUint64(prepareHeader.at.commit, true)),
    checkpointId: hex(bytes, prepareHeader.at.checkpointId),
    base,
    timestamp,
    requests: stamped,
  };
}

type Unstamped = Omit<ObservedRequest, "timestamp">;

function plainRequest(bytes: Uint8Array, view: DataView): Unstamped {
  const client = hex(bytes, prepareHeader.at.client);
  return {
    client: client === zeros ? "" : client,
    session: null,
    request: view.getUint32(prepareHeader.at.request, true),
    checksum: hex(bytes, prepareHeader.at.requestChecksum),
    release: view.getUint32(frame.at.release, true),
    operation: bytes[prepareHeader.at.operation]!,
    body: bytes.slice(headerSize),
  };
}

/** The requests of a group: bodies back to back, then the table. */
function groupRequests(bytes: Uint8Array, view: DataView): Unstamped[] | string {
  const count = bytes[prepareHeader.at.requests]!;
  if (count < 2 || count > requestsMax) return `a group of ${count} requests`;
  const tableAt = bytes.length - count * groupEntry.size;
  if (tableAt < headerSize) return "its table is larger than its body";
  const requests: Unstamped[] = [];
  let bodyAt = headerSize;
  for (let index = 0; index < count; index += 1) {
    const at = tableAt + index * groupEntry.size;
    const bodyEnd = bodyAt + view.getUint32(at + groupEntry.at.bodySize, true);
    if (bodyEnd > tableAt) return "its bodies reach into its table";
    const operation = bytes[at + groupEntry.at.operation]!;
    if (operation === operationGroup || operation === Operation.register) {
      return `a group holds operation ${operation}`;
    }
    for (let rest = 0; rest < 11; rest += 1) {
      if (bytes[at + groupEntry.at.reserved + rest] !== 0) return "reserved bytes are not zero";
    }
    const client = hex(bytes, at + groupEntry.at.client);
    if (client === zeros) return "a request of a group has no client";
    requests.push({
      client,
      session: Number(view.getBigUint64(at + groupEntry.at.session, true)),
      request: view.getUint32(at + groupEntry.at.request, true),
      checksum: hex(bytes, at + groupEntry.at.requestChecksum),
      release: view.getUint32(at + groupEntry.at.release, true),
      operation,
      body: bytes.slice(bodyAt, bodyEnd),
    });
    bodyAt = bodyEnd;
  }
  return bodyAt === tableAt ? requests : "bytes lie between its bodies and its table";
}
