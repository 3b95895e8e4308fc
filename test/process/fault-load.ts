/**
 * Load for clusters that fail: sessions at the level of bytes, and official clients in processes of
 * their own, each with one request under way, all from one workload. Whatever is answered goes to the
 * judge; nobody gives up a request, so that in the end the fate of each is known.
 */

import { at, headerSize } from "../interop/messages.ts";
import {
  accountCodec,
  createResultCodec,
  decodeArray,
  decodeMultiBatch,
  encodeArray,
  encodeMultiBatch,
  transferCodec,
  writeInteger,
} from "../reference/codec.ts";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { encodeRequest, Operation } from "../reference/operations.ts";
import { type CreateResult, created, type Transfer, TransferFlag } from "../reference/records.ts";
import type { ClusterSession } from "./cluster-session.ts";
import type { Judge } from "./judge.ts";
import type { OfficialClient } from "./official-client.ts";
import type { Workload } from "./workload.ts";

export interface LoadCounts {
  requests: number;
  acknowledged: number;
  resent: number;
  /** Of those acknowledged, through official clients. */
  official: number;
  lookups: number;
  /** Longest time in which nobody got an answer while the load ran. Milliseconds. */
  longestSilenceMs: number;
}

export interface Phase {
  stop: boolean;
}

/** Ids that are sent once for certain, far from those of the workload. */
const markerIdMin = 1n << 96n;
/** Only markers move money between these, so that nothing closes them or ends their credit. */
const [markerDebit, markerCredit] = [markerIdMin, markerIdMin + 1n];
/** A lookup asks for so many of the last transfers that were acknowledged. */
const lookupMax = 30;
const callLimitMs = 180_000;
const slowPauseMs = 1000;

export class FaultLoad {
  readonly counts: LoadCounts = {
    requests: 0,
    acknowledged: 0,
    resent: 0,
    official: 0,
    lookups: 0,
    longestSilenceMs: 0,
  };
  /** Clients take their time. */
  slow = false;
  private markers = 0n;
  private lastAnswerMs = 0;

  /** @param pauseMs - Between two requests of one client. */
  constructor(
    private readonly workload: Workload,
    private readonly judge: Judge,
    private readonly pauseMs: number,
  ) {}

  /** Before everything else. */
  async prepare(session: ClusterSession): Promise<void> {
    this.begin();
    const accounts = [makeAccount(markerDebit), makeAccount(markerCredit)];
    const operation = Operation.createAccounts;
    const body = encodeRequest(operation, [encodeArray(accountCodec, accounts)]);
    await this.request(session, operation, body);
  }

  /** Before a phase in which clients run. */
  begin(): void {
    this.lastAnswerMs = performance.now();
  }

  private rest(): Promise<void> {
    return pause(this.slow ? slowPauseMs : this.pauseMs);
  }

  private answered(): void {
    const now = performance.now();
    const silenceMs = now - this.lastAnswerMs;
    this.counts.acknowledged += 1;
    this.counts.longestSilenceMs = Math.max(this.counts.longestSilenceMs, Math.round(silenceMs));
    this.lastAnswerMs = now;
  }

  async runSession(session: ClusterSession, phase: Phase): Promise<void> {
    while (!phase.stop) {
      const { operation, body } = this.workload.next();
      await this.request(session, operation, body);
      await this.rest();
    }
  }

  /** One request, brought to its end and before the judge. Returns it. */
  async request(session: ClusterSession, operation: number, body: Uint8Array): Promise<Uint8Array> {
    const message = session.build(operation, body);
    this.counts.requests += 1;
    const { reply, resent } = await session.roundTrip(message);
    this.answered();
    if (resent) this.counts.resent += 1;
    this.judge.add({ operation, body, reply, resent });
    return message;
  }

  /** A transfer of its own, for requests that must change something. */
  markerRequest(): { readonly operation: number; readonly body: Uint8Array } {
    const body = encodeArray(transferCodec, [this.marker()]);
    const operation = Operation.createTransfers;
    return { operation, body: encodeRequest(operation, [body]) };
  }

  private marker(): Transfer {
    this.markers += 1n;
    return makeTransfer(markerIdMin + this.markers, markerDebit, markerCredit, 1n);
  }

  async runOfficial(client: OfficialClient, phase: Phase): Promise<void> {
    const acknowledged: Transfer[] = [];
    while (!phase.stop) {
      const { operation, body } = this.workload.next();
      this.counts.requests += 1;
      if (operation === Operation.createAccounts) await this.officialAccounts(client, body);
      else if (operation === Operation.createTransfers) {
        acknowledged.push(...(await this.officialTransfers(client, body)));
        acknowledged.splice(0, acknowledged.length - lookupMax);
      } else await this.officialLookup(client, acknowledged);
      this.answered();
      this.counts.official += 1;
      await this.rest();
    }
  }

  private async officialAccounts(client: OfficialClient, body: Uint8Array): Promise<void> {
    const batch = decodeArray(accountCodec, decodeMultiBatch(accountCodec.size, body)![0]!);
    const results = await inTime(client.call("createAccounts", batch));
    this.give(Operation.createAccounts, encodeArray(accountCodec, batch), results);
  }

  /** @returns Transfers that must be found from now on. */
  private async officialTransfers(client: OfficialClient, body: Uint8Array): Promise<Transfer[]> {
    const batch = decodeArray(transferCodec, decodeMultiBatch(transferCodec.size, body)![0]!);
    // The last of the batch is new for certain: its timestamp is that of the request.
    const marker = this.marker();
    batch.push(marker);
    const results = await inTime(client.call("createTransfers", batch));
    this.give(Operation.createTransfers, encodeArray(transferCodec, batch), results);
    const last = results.at(-1)!;
    if (last.status !== created) {
      // Only the last event of an open chain fails for what stands before it.
      const previous = batch.at(-2);
      if (previous !== undefined && (previous.flags & TransferFlag.linked) !== 0) return [];
      throw new Error(`a transfer that nothing stands against was refused: ${last.status}`);
    }
    return [{ ...marker, timestamp: last.timestamp }];
  }

  private give(
    operation: number,
    batch: Uint8Array,
    results: readonly { readonly timestamp: bigint; readonly status: number }[],
  ): void {
    const complete: CreateResult[] = results.map(({ timestamp, status }) => {
      return { timestamp, status, reserved: 0 };
    });
    const body = encodeMultiBatch(createResultCodec.size, [
      encodeArray(createResultCodec, complete),
    ]);
    const reply = new Uint8Array(headerSize + body.length);
    reply.set(body, headerSize);
    writeInteger(reply, at.reply.timestamp, 8, results.at(-1)!.timestamp);
    this.judge.add({ operation, body: encodeRequest(operation, [batch]), reply, resent: true });
  }

  private async officialLookup(
    client: OfficialClient,
    acknowledged: readonly Transfer[],
  ): Promise<void> {
    if (acknowledged.length === 0) return;
    this.counts.lookups += 1;
    const ids = acknowledged.map(({ id }) => id);
    const found = await inTime(client.call("lookupTransfers", ids));
    const shown = (list: readonly { readonly id: bigint; readonly timestamp: bigint }[]): string =>
      list.map(({ id, timestamp }) => `${id}@${timestamp}`).join();
    if (shown(found) !== shown(acknowledged)) {
      throw new Error(
        `acknowledged transfers are missing: expected ${shown(acknowledged)}, found ${shown(found)}`,
      );
    }
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function inTime<T>(call: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`an official client has waited ${callLimitMs} ms for an answer`);
    timer = setTimeout(() => reject(error), callLimitMs);
  });
  try {
    return await Promise.race([call, late]);
  } finally {
    clearTimeout(timer);
  }
}
