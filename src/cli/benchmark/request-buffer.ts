/**
 * One request message, built in place: header and body share a buffer that is sent from where it
 * lies and reused for every request of its kind. The body (and its checksum) is made while the
 * request before it is under way; the header, which carries the context of the last reply, is
 * finished just before sending.
 */
import { assert } from "../../core/assert.ts";
import { headerSize } from "../../core/limits.ts";
import { u64WriteNumber, u128Copy } from "../../core/u128.ts";
import type { FileIo, IoBuffer } from "../../io/io.ts";
import { checksum } from "../../native/checksum.ts";
import { Command, frame, requestHeader } from "../../wire/header.ts";
import { multiBatchFinish, multiBatchTrailerSize } from "../../wire/multi-batch.ts";
import { Operation, operationEventSize, registerBodySize } from "../../wire/operations.ts";
import { ownRelease } from "../../wire/release.ts";

export class RequestBuffer {
  readonly memory: IoBuffer;
  readonly words: Uint32Array;
  /** Header and body of the request that lies in the buffer. */
  size = headerSize;
  readonly operation: number;
  /** Events in the body. */
  events = 0;
  private readonly bytes: Uint8Array;
  private readonly counts = new Uint32Array(1);

  /** @param operation - What its batches will be; `register` needs no more than this room. */
  constructor(io: FileIo, operation: number, eventsMax: number) {
    const eventSize = operationEventSize[operation]!;
    const batch = eventSize === 0 ? 0 : eventsMax * eventSize + multiBatchTrailerSize(eventSize, 1);
    this.operation = operation;
    this.memory = io.allocate(headerSize + Math.max(batch, registerBodySize));
    this.bytes = this.memory.bytes;
    this.words = this.memory.words;
  }

  /** The body is one sub-batch: writes its trailer and its checksum. */
  sealBatch(events: number): void {
    const eventSize = operationEventSize[this.operation]!;
    this.events = events;
    this.counts[0] = events;
    const elements = events * eventSize;
    this.size = headerSize;
    this.size += multiBatchFinish(this.bytes, headerSize, elements, eventSize, this.counts, 1);
    this.checksumBody();
  }

  sealRegister(): void {
    assert(this.operation === Operation.register, "a buffer serves one operation");
    this.size = headerSize + registerBodySize;
    this.checksumBody();
  }

  private checksumBody(): void {
    checksum(this.bytes, frame.at.checksumBody, this.bytes, headerSize, this.size - headerSize);
  }

  /**
   * Finishes the header.
   *
   * @param context - Context of the session's last reply, at word 0; zeros for `register`.
   */
  sealHeader(
    cluster: Uint32Array,
    client: Uint32Array,
    context: Uint32Array,
    session: number,
    request: number,
    view: number,
  ): void {
    const words = this.words;
    u128Copy(words, frame.word.cluster, cluster, 0);
    words[frame.word.size] = this.size;
    words[frame.word.view] = view;
    words[frame.word.release] = ownRelease;
    this.bytes[frame.at.command] = Command.request;
    u128Copy(words, requestHeader.word.parent, context, 0);
    u128Copy(words, requestHeader.word.client, client, 0);
    u64WriteNumber(words, requestHeader.word.session, session);
    words[requestHeader.word.request] = request;
    this.bytes[requestHeader.at.operation] = this.operation;
    checksum(this.bytes, 0, this.bytes, 16, headerSize - 16);
  }
}
