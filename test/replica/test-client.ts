/** A client with a session: builds its requests and follows its replies. */
import { headerSize } from "../../src/core/limits.ts";
import { RequestFields, writeRequest } from "../../src/wire/build.ts";
import { frame, replyHeader } from "../../src/wire/header.ts";
import { Operation } from "../../src/wire/operations.ts";
import { ownRelease } from "../../src/wire/release.ts";
import { type Reply, tinyFormat } from "./harness.ts";

export class TestClient {
  session = 0;
  number = 0;
  view = 0;
  parent = new Uint8Array(16);
  inFlight: Uint8Array | null = null;
  /** The request answered last. */
  lastRequest: Uint8Array | null = null;

  constructor(readonly id: number) {}

  register(): Uint8Array {
    return this.build(Operation.register, new Uint8Array(256), 0);
  }

  request(operation: number, body: Uint8Array): Uint8Array {
    return this.build(operation, body, this.number + 1);
  }

  /** Number of the request in flight. */
  get inFlightNumber(): number {
    return this.session === 0 ? 0 : this.number + 1;
  }

  private build(operation: number, body: Uint8Array, number: number): Uint8Array {
    const bytes = new Uint8Array(headerSize + body.length);
    const words = new Uint32Array(bytes.buffer);
    bytes.set(body, headerSize);
    const fields = new RequestFields();
    fields.cluster.set(tinyFormat.cluster);
    fields.client[0] = this.id;
    fields.release = ownRelease;
    fields.operation = operation;
    fields.request = number;
    fields.session = this.session;
    fields.view = this.view;
    fields.parent.set(new Uint32Array(this.parent.buffer));
    fields.bodySize = body.length;
    writeRequest(bytes, words, 0, fields);
    this.inFlight = bytes;
    return bytes;
  }

  /** Takes the reply to the request in flight. */
  accept(reply: Reply): void {
    const words = new Uint32Array(reply.bytes.buffer, 0, headerSize / 4);
    if (reply.operation === Operation.register) this.session = reply.op;
    this.number = reply.request;
    this.view = Math.max(this.view, words[frame.word.view]!);
    this.parent = reply.bytes.slice(replyHeader.at.context, replyHeader.at.context + 16);
    this.lastRequest = this.inFlight;
    this.inFlight = null;
  }
}
