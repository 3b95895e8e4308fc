/**
 * The log as it was handed to journals: by op, the requests of the prepare that was written last.
 * All incarnations of a replica share one; an op that a crash took is replaced by the next one of
 * its number.
 */
import { PrepareRequests } from "../../src/consensus/prepare-requests.ts";
import { u64ReadNumber } from "../../src/core/u128.ts";
import { prepareHeader } from "../../src/wire/header.ts";
import { timestampDelta } from "../reference/operations.ts";

export interface LoggedRequest {
  readonly operation: number;
  readonly body: Uint8Array;
  readonly timestamp: bigint;
  /** 0: a pulse, which no client sent. */
  readonly client: number;
  readonly request: number;
}

export class Log {
  private readonly ops = new Map<number, readonly LoggedRequest[]>();

  /** @param prepare - Of the message's size. */
  record(prepare: Uint8Array): void {
    const bytes = prepare.slice();
    const words = new Uint32Array(bytes.buffer, 0, Math.floor(bytes.length / 4));
    const cursor = new PrepareRequests({
      timestampDelta: (operation, _words, all, at, size) =>
        operation < 128 ? 0 : timestampDelta(operation, all.subarray(at, at + size)),
    });
    if (!cursor.open({ sizeBytes: bytes.length, bytes, words, id: 0 })) throw new Error("table");
    const requests: LoggedRequest[] = [];
    while (cursor.next()) {
      requests.push({
        operation: cursor.operation,
        body: bytes.subarray(cursor.bodyAt, cursor.bodyAt + cursor.bodySize),
        timestamp: (BigInt(cursor.timestamp[1]!) << 32n) | BigInt(cursor.timestamp[0]!),
        client: cursor.words[cursor.clientAt]!,
        request: cursor.request,
      });
    }
    this.ops.set(u64ReadNumber(words, prepareHeader.word.op), requests);
  }

  requestsOf(op: number): readonly LoggedRequest[] {
    const requests = this.ops.get(op);
    if (requests === undefined) throw new Error(`op ${op} was never prepared`);
    return requests;
  }
}
