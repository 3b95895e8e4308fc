/**
 * A replica as it should be, in two hundred lines and without a disk: for testing the checkers and
 * the clients. It does with requests what protocol/wire.md §7 says, executes them on a reference
 * ledger at once, and can be told to do one thing wrong.
 */
import {
  ReplyFields,
  sealHeader,
  writeEviction,
  writePongClient,
  writeReply,
} from "../../../src/wire/build.ts";
import {
  Command,
  frame,
  groupEntry,
  pingClientHeader,
  prepareHeader,
  replyHeader,
  requestHeader,
} from "../../../src/wire/header.ts";
import { ReferenceLedger } from "../../reference/ledger.ts";
import {
  executeRequest,
  isKnownOperation,
  isValidBody,
  Operation,
  timestampDelta,
} from "../../reference/operations.ts";
import { hex } from "./prepare.ts";
import type { SessionTable } from "./session-table.ts";

const headerSize = 256;
const replySlotSize = 256 * 1024;

interface Entry {
  readonly session: number;
  readonly release: number;
  request: number;
  checksum: string;
  context: string;
  op: number;
  reply: Uint8Array;
  query: Uint8Array | null;
}

/** One thing that it does wrong. */
export const Defect = {
  none: "none",
  /** Repeated requests run again. */
  executesTwice: "executesTwice",
  wrongReply: "wrongReply",
  /** Repeated queries see an empty ledger. */
  staleQuery: "staleQuery",
  clockRunsBack: "clockRunsBack",
  /** Every fifth client is told that its session is gone. */
  evictsAnyone: "evictsAnyone",
} as const;

export class IdealReplica {
  readonly ledger = new ReferenceLedger();
  op = 0;
  /** Wall clock. Nanoseconds. */
  now = 1_700_000_000_000_000_000n;
  defect: string = Defect.none;
  /** Sees every prepare when it has been executed. */
  onExecuted: (op: number, prepare: Uint8Array) => void = () => {};
  private parent = new Uint8Array(16);
  private last = 0n;
  private readonly sessions = new Map<string, Entry>();

  constructor(
    readonly cluster: Uint32Array,
    private readonly clientsMax: number,
    private readonly bodySizeMax = 1_048_320,
    public view = 0,
  ) {}

  /** What it answers to a message of a client; null: nothing. */
  receive(message: Uint8Array): Uint8Array | null {
    if (message[frame.at.command] === Command.pingClient) return this.pong(message);
    const client = hex(message, requestHeader.at.client);
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    if (view.getUint32(frame.at.view, true) > this.view) return null;
    if (view.getBigUint64(requestHeader.at.timestamp, true) !== 0n) return null;
    const reason = this.offence(message, view);
    if (reason !== 0) return this.eviction(message, reason);
    const entry = this.sessions.get(client);
    const operation = message[requestHeader.at.operation]!;
    if (this.defect === Defect.evictsAnyone && operation >= 128 && this.op % 5 === 0) {
      return this.eviction(message, 1);
    }
    if (entry === undefined) {
      return operation === Operation.register
        ? this.accept([message])[0]!
        : this.eviction(message, 1);
    }
    if (operation !== Operation.register) {
      const session = Number(view.getBigUint64(requestHeader.at.session, true));
      if (entry.session > session) return this.eviction(message, 7);
      if (entry.session < session) return null;
    }
    if (entry.release !== view.getUint32(frame.at.release, true)) return this.eviction(message, 8);
    const request = view.getUint32(requestHeader.at.request, true);
    const twice = this.defect === Defect.executesTwice && operation !== Operation.register;
    if (request === entry.request && entry.checksum === hex(message, 0) && !twice) {
      return this.again(entry);
    }
    if (request !== entry.request + (twice && request === entry.request ? 0 : 1)) return null;
    if (!twice && entry.context !== hex(message, requestHeader.at.parent)) return null;
    return this.accept([message])[0]!;
  }

  private offence(message: Uint8Array, view: DataView): number {
    const release = view.getUint32(frame.at.release, true);
    const operation = message[requestHeader.at.operation]!;
    const body = message.subarray(headerSize);
    if (release < 0x1004) return 2;
    if (release > 0x1109) return 3;
    if (operation === Operation.register) return body.some((byte) => byte !== 0) ? 5 : 0;
    if (operation === Operation.noop) return 0;
    if (!isKnownOperation(operation)) return 4;
    return isValidBody(operation, body, this.bodySizeMax) ? 0 : 5;
  }

  /** Executes requests of different clients as one op. Returns their replies. */
  accept(requests: readonly Uint8Array[]): Uint8Array[] {
    const op = this.op + 1;
    const prepare = this.prepare(op, requests);
    const replies = requests.map((request, index) => {
      return this.execute(op, request, this.timestamps(requests)[index]!);
    });
    this.last = this.timestamps(requests).at(-1)!;
    this.op = op;
    this.parent = prepare.slice(0, 16);
    this.onExecuted(op, prepare);
    return replies;
  }

  /** Its sessions as replicas keep them. */
  table(): SessionTable & { readonly entries: Entry[] } {
    const entries = [...this.sessions.values()];
    const names = [...this.sessions.keys()];
    const bytes = new Uint8Array(entries.length * replySlotSize);
    for (const [slot, { reply }] of entries.entries()) bytes.set(reply, slot * replySlotSize);
    return {
      entries,
      count: entries.length,
      replies: { bytes },
      find: (words, at) => names.indexOf(hex(new Uint8Array(words.buffer), 4 * at)),
      session: (slot) => entries[slot]!.session,
      request: (slot) => entries[slot]!.request,
      replyOp: (slot) => entries[slot]!.op,
      replyKept: (slot) => entries[slot]!.query === null,
      replyMissing: () => false,
    };
  }

  /** Releases what has expired. */
  pulse(): void {
    const op = this.op + 1;
    const timestamp = this.base() + 8190n;
    const prepare = this.header(op, timestamp, new Uint8Array(0));
    prepare[prepareHeader.at.operation] = Operation.pulse;
    prepare[prepareHeader.at.requests] = 1;
    seal(prepare);
    this.ledger.pulse(timestamp);
    this.last = timestamp;
    this.op = op;
    this.parent = prepare.slice(0, 16);
    this.onExecuted(op, prepare);
  }

  private base(): bigint {
    if (this.defect === Defect.clockRunsBack) return this.last - 1000n;
    return this.now > this.last ? this.now : this.last + 1n;
  }

  private timestamps(requests: readonly Uint8Array[]): bigint[] {
    let last = this.base() - 1n;
    return requests.map((request) => {
      const operation = request[requestHeader.at.operation]!;
      last += 1n + BigInt(timestampDelta(operation, request.subarray(headerSize)));
      return last;
    });
  }

  private header(op: number, timestamp: bigint, body: Uint8Array): Uint8Array {
    const prepare = new Uint8Array(headerSize + body.length);
    prepare.set(body, headerSize);
    const view = new DataView(prepare.buffer);
    prepare.set(new Uint8Array(this.cluster.buffer, this.cluster.byteOffset, 16), frame.at.cluster);
    view.setUint32(frame.at.size, prepare.length, true);
    view.setUint32(frame.at.view, this.view, true);
    prepare[frame.at.command] = Command.prepare;
    prepare.set(this.parent, prepareHeader.at.parent);
    view.setBigUint64(prepareHeader.at.op, BigInt(op), true);
    view.setBigUint64(prepareHeader.at.commit, BigInt(op - 1), true);
    view.setBigUint64(prepareHeader.at.timestamp, timestamp, true);
    return prepare;
  }

  private prepare(op: number, requests: readonly Uint8Array[]): Uint8Array {
    const timestamp = this.timestamps(requests).at(-1)!;
    const bodies = requests.map((request) => this.loggedBody(request));
    const table = requests.length === 1 ? [] : requests.map(tableEntry);
    const prepare = this.header(op, timestamp, Buffer.concat([...bodies, ...table]));
    prepare[prepareHeader.at.requests] = requests.length;
    if (requests.length > 1) {
      prepare[prepareHeader.at.operation] = 8;
    } else {
      const [request] = requests;
      prepare.set(request!.subarray(0, 16), prepareHeader.at.requestChecksum);
      copy(prepare, prepareHeader.at.client, request!, requestHeader.at.client, 16);
      copy(prepare, prepareHeader.at.request, request!, requestHeader.at.request, 4);
      copy(prepare, frame.at.release, request!, frame.at.release, 4);
      prepare[prepareHeader.at.operation] = request![requestHeader.at.operation]!;
    }
    seal(prepare);
    return prepare;
  }

  private loggedBody(request: Uint8Array): Uint8Array {
    const body = request.slice(headerSize);
    if (request[requestHeader.at.operation] === Operation.register) {
      new DataView(body.buffer).setUint32(0, this.bodySizeMax, true);
    }
    return body;
  }

  private execute(op: number, request: Uint8Array, timestamp: bigint): Uint8Array {
    const operation = request[requestHeader.at.operation]!;
    const body = request.subarray(headerSize);
    let result: Uint8Array;
    if (operation === Operation.register) {
      result = new Uint8Array(64);
      new DataView(result.buffer).setUint32(0, this.bodySizeMax, true);
    } else {
      result = executeRequest(this.ledger, operation, body, timestamp);
    }
    if (this.defect === Defect.wrongReply && result.length > 0) result[0]! ^= 1;
    const reply = this.reply(op, request, timestamp, result);
    this.store(op, request, reply);
    return reply;
  }

  private store(op: number, request: Uint8Array, reply: Uint8Array): void {
    const client = hex(request, requestHeader.at.client);
    const view = new DataView(request.buffer, request.byteOffset);
    const operation = request[requestHeader.at.operation]!;
    const creates = [129, 130, 138, 139, 146, 147].includes(operation);
    const changed = {
      request: view.getUint32(requestHeader.at.request, true),
      checksum: hex(request, 0),
      context: hex(reply, replyHeader.at.context),
      op,
      reply: reply.slice(),
      query: operation < 128 || creates ? null : request.slice(),
    };
    const entry = this.sessions.get(client);
    if (operation !== Operation.register) {
      if (entry !== undefined) Object.assign(entry, changed);
      return;
    }
    if (this.sessions.size === this.clientsMax) this.evict();
    const release = view.getUint32(frame.at.release, true);
    this.sessions.set(client, { session: op, release, ...changed });
  }

  private evict(): void {
    const entries = [...this.sessions].sort(([, a], [, b]) => a.op - b.op || a.session - b.session);
    this.sessions.delete(entries[0]![0]);
  }

  /** The kept reply, or the query run again. */
  private again(entry: Entry): Uint8Array {
    if (entry.query === null) return entry.reply;
    const operation = entry.query[requestHeader.at.operation]!;
    const stale = this.defect === Defect.staleQuery;
    const ledger = stale ? new ReferenceLedger() : this.ledger;
    const body = executeRequest(ledger, operation, entry.query.subarray(headerSize), 0n);
    const timestamp = new DataView(entry.reply.buffer).getBigUint64(replyHeader.at.timestamp, true);
    return this.reply(entry.op, entry.query, timestamp, body);
  }

  private reply(op: number, request: Uint8Array, timestamp: bigint, body: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(headerSize + body.length);
    bytes.set(body, headerSize);
    const requestWords = wordsOf(request);
    const fields = new ReplyFields();
    fields.cluster.set(this.cluster);
    fields.client.set(
      requestWords.subarray(requestHeader.word.client, requestHeader.word.client + 4),
    );
    fields.requestChecksum.set(requestWords.subarray(0, 4));
    fields.view = this.view;
    fields.release = requestWords[frame.word.release]!;
    fields.op = op;
    fields.timestampLow = Number(timestamp & 0xffff_ffffn);
    fields.timestampHigh = Number(timestamp >> 32n);
    fields.request = requestWords[requestHeader.word.request]!;
    fields.operation = request[requestHeader.at.operation]!;
    fields.bodySize = body.length;
    writeReply(bytes, wordsOf(bytes), 0, fields);
    return bytes;
  }

  private pong(ping: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(headerSize);
    const { cluster, view } = this;
    const client = hex(ping, pingClientHeader.at.client);
    const session = wordsOf(ping)[pingClientHeader.word.session]!;
    if (session !== 0 && !this.sessions.has(client)) return this.eviction(ping, 1);
    writePongClient(bytes, wordsOf(bytes), 0, wordsOf(ping), 0, cluster, view, 0x1109, 0);
    return bytes;
  }

  private eviction(message: Uint8Array, reason: number): Uint8Array {
    const bytes = new Uint8Array(headerSize);
    const ping = message[frame.at.command] === Command.pingClient;
    const clientAt = ping ? pingClientHeader.word.client : requestHeader.word.client;
    const words = wordsOf(bytes);
    const { cluster, view } = this;
    writeEviction(bytes, words, 0, wordsOf(message), clientAt, cluster, view, 0x1109, 0, reason);
    return bytes;
  }
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
}

function copy(
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  from: number,
  size: number,
): void {
  target.set(source.subarray(from, from + size), at);
}

function tableEntry(request: Uint8Array): Uint8Array {
  const entry = new Uint8Array(groupEntry.size);
  entry.set(request.subarray(0, 16), groupEntry.at.requestChecksum);
  copy(entry, groupEntry.at.client, request, requestHeader.at.client, 16);
  copy(entry, groupEntry.at.session, request, requestHeader.at.session, 8);
  copy(entry, groupEntry.at.request, request, requestHeader.at.request, 4);
  copy(entry, groupEntry.at.release, request, frame.at.release, 4);
  new DataView(entry.buffer).setUint32(groupEntry.at.bodySize, request.length - headerSize, true);
  entry[groupEntry.at.operation] = request[requestHeader.at.operation]!;
  return entry;
}

/** Writes both checksums of a prepare. */
export function seal(prepare: Uint8Array): void {
  sealHeader(prepare, wordsOf(prepare), 0);
}
