/**
 * One client session as protocol/wire.md §5 has it: its messages, and what may be believed of the
 * answers. At most one request is in flight; its bytes are fixed when it is first sent, and every
 * repetition is the same. A client whose session has ended is dead: its id is never used again.
 *
 * A reply to the request in flight must match it; where the official client would stop its process,
 * the run fails.
 */
import { checksumMatches } from "../../../src/native/checksum.ts";
import { RequestFields, writePingClient, writeRequest } from "../../../src/wire/build.ts";
import { Command, evictionHeader, frame, replyHeader } from "../../../src/wire/header.ts";
import { isKnownOperation, Operation, splitReply } from "../../reference/operations.ts";

const headerSize = 256;
const bodySizeMax = 1_048_320;
const registerBodySize = 256;

export interface InFlight {
  readonly bytes: Uint8Array;
  readonly operation: number;
  readonly request: number;
  /** Sub-batches that the reply must have; 0 for operations without. */
  readonly subBatches: number;
}

/** What came of a message. A sentence says what a replica did wrong. */
export const Heard = {
  /** Not for this session, or late: no concern of it. */
  nothing: 0,
  answered: 1,
  evicted: 2,
} as const;

export class ClientSession {
  /** Hexadecimal. */
  readonly name: string;
  /** The op of its registration, once that was answered. */
  session = 0;
  /** Number of the request answered last. */
  number = 0;
  /** The highest view that a replica has told of. */
  view = 0;
  /** Why it was evicted, or 0. */
  evictedFor = 0;
  /** The server's limit, from the registration. Bytes. */
  bodySizeMax = bodySizeMax;
  inFlight: InFlight | null = null;
  private readonly parent = new Uint32Array(4);
  private readonly fields = new RequestFields();

  constructor(
    readonly id: Uint32Array,
    private readonly cluster: Uint32Array,
    readonly release: number,
    /** A view that was seen before: the client need not start with the first replica. */
    view: number,
  ) {
    this.name = Buffer.from(id.buffer, id.byteOffset, 16).toString("hex");
    this.view = view;
  }

  /** The registration; now in flight. */
  register(): Uint8Array {
    return this.begin(Operation.register, new Uint8Array(registerBodySize));
  }

  /** The next request; now in flight. */
  begin(operation: number, body: Uint8Array): Uint8Array {
    if (this.inFlight !== null) throw new Error("a session has one request in flight");
    const request = operation === Operation.register ? 0 : this.number + 1;
    const bytes = this.build(operation, body, request, this.session, this.parent);
    const subBatches = subBatchesOf(operation, body);
    this.inFlight = { bytes, operation, request, subBatches };
    return bytes;
  }

  /** A sealed request that is not in flight: for `begin`, and for what must never be executed. */
  build(
    operation: number,
    body: Uint8Array,
    request: number,
    session: number,
    parent: Uint32Array,
    release = this.release,
  ): Uint8Array {
    const bytes = new Uint8Array(Math.ceil((headerSize + body.length) / 4) * 4);
    bytes.set(body, headerSize);
    const { fields } = this;
    fields.cluster.set(this.cluster);
    fields.client.set(this.id);
    fields.release = release;
    fields.operation = operation;
    fields.request = request;
    fields.session = session;
    fields.view = this.view;
    fields.parent.set(parent);
    fields.previousRequestLatencyUs = operation === Operation.register ? 0 : 7 * request;
    fields.bodySize = body.length;
    writeRequest(bytes, new Uint32Array(bytes.buffer), 0, fields);
    return bytes.subarray(0, headerSize + body.length);
  }

  /** The context that the next request has to name. */
  get context(): Uint32Array {
    return this.parent;
  }

  ping(nowUs: number): Uint8Array {
    const bytes = new Uint8Array(headerSize);
    const words = new Uint32Array(bytes.buffer);
    const [low, high] = [nowUs % 2 ** 32, Math.floor(nowUs / 2 ** 32)];
    writePingClient(bytes, words, 0, this.id, this.cluster, this.release, this.session, low, high);
    return bytes;
  }

  /** Takes a message from a replica: one of `Heard`, or what is wrong with it. */
  hear(bytes: Uint8Array): number | string {
    const problem = frameProblem(bytes);
    if (problem !== null) return problem;
    switch (bytes[frame.at.command]) {
      case Command.pongClient:
        this.learnView(bytes);
        return Heard.nothing;
      case Command.reply:
        return this.hearReply(bytes);
      case Command.eviction:
        return this.hearEviction(bytes);
      default:
        return `command ${bytes[frame.at.command]} was sent to a client`;
    }
  }

  private learnView(bytes: Uint8Array): void {
    this.view = Math.max(this.view, viewOf(bytes).getUint32(frame.at.view, true));
  }

  private hearReply(bytes: Uint8Array): number | string {
    const { inFlight } = this;
    if (!this.addressed(bytes, replyHeader.at.client) || inFlight === null) return Heard.nothing;
    const view = viewOf(bytes);
    const request = view.getUint32(replyHeader.at.request, true);
    if (request < inFlight.request) return Heard.nothing;
    const problem = this.mismatch(bytes, view, inFlight);
    if (problem !== null) return `the reply to request ${inFlight.request}: ${problem}`;
    this.learnView(bytes);
    if (inFlight.operation === Operation.register) {
      this.session = Number(view.getBigUint64(replyHeader.at.commit, true));
      this.bodySizeMax = view.getUint32(headerSize, true);
    }
    this.number = inFlight.request;
    const context = replyHeader.at.context;
    for (let word = 0; word < 4; word += 1) {
      this.parent[word] = view.getUint32(context + 4 * word, true);
    }
    this.inFlight = null;
    return Heard.answered;
  }

  private mismatch(bytes: Uint8Array, view: DataView, inFlight: InFlight): string | null {
    if (view.getUint32(replyHeader.at.request, true) !== inFlight.request) return "a later request";
    if (view.getUint32(frame.at.release, true) !== this.release) return "another release";
    const at = replyHeader.at.requestChecksum;
    if (Buffer.compare(bytes.subarray(at, at + 16), inFlight.bytes.subarray(0, 16)) !== 0) {
      return "of another request with this number";
    }
    const { operation, subBatches } = inFlight;
    if (bytes[replyHeader.at.operation] !== operation) return "another operation";
    if (view.getBigUint64(replyHeader.at.op, true) === 0n) return "op 0";
    if (operation === Operation.register) {
      const limit = bytes.length === headerSize + 64 ? view.getUint32(headerSize, true) : 0;
      return limit === 0 || limit > bodySizeMax ? "no limit for requests" : null;
    }
    if (operation < 128) return null;
    const parts = splitReply(operation, bytes.subarray(headerSize));
    if (parts === null) return "a malformed body";
    return parts.length === subBatches ? null : `${parts.length} sub-batches, not ${subBatches}`;
  }

  private hearEviction(bytes: Uint8Array): number {
    if (!this.addressed(bytes, evictionHeader.at.client)) return Heard.nothing;
    if (viewOf(bytes).getUint32(frame.at.view, true) < this.view) return Heard.nothing;
    this.evictedFor = bytes[evictionHeader.at.reason]!;
    return Heard.evicted;
  }

  private addressed(bytes: Uint8Array, at: number): boolean {
    const view = viewOf(bytes);
    for (let word = 0; word < 4; word += 1) {
      if (view.getUint32(at + 4 * word, true) !== this.id[word]) return false;
    }
    return true;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function subBatchesOf(operation: number, body: Uint8Array): number {
  if (!isKnownOperation(operation)) return 0;
  // Bodies of the operations of one batch have no trailer.
  if (operation <= Operation.getChangeEvents) return 1;
  return body[body.length - 2]! + 256 * body[body.length - 1]!;
}

/** Whatever arrives has sound checksums and obeys the rules of its header. */
function frameProblem(bytes: Uint8Array): string | null {
  if (bytes.length < headerSize) return `a message of ${bytes.length} bytes`;
  const view = viewOf(bytes);
  if (view.getUint32(frame.at.size, true) !== bytes.length) return "a message of another size";
  const checkedAt = frame.at.checksumPadding;
  if (!checksumMatches(bytes, 0, bytes, checkedAt, headerSize - checkedAt)) {
    return "a message with a wrong checksum";
  }
  const bodySize = bytes.length - headerSize;
  if (!checksumMatches(bytes, frame.at.checksumBody, bytes, headerSize, bodySize)) {
    return "a body with a wrong checksum";
  }
  if (view.getUint32(frame.at.release, true) === 0) return "a message without a release";
  const command = bytes[frame.at.command];
  if (command !== Command.reply && bytes.length !== headerSize) return "a body where none belongs";
  if (command === Command.eviction) {
    const reason = bytes[evictionHeader.at.reason]!;
    if (reason === 0 || reason > 8) return `an eviction for reason ${reason}`;
  }
  return null;
}
