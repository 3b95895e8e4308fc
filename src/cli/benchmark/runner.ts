/**
 * One run of the benchmark against a server that listens: registers the clients, creates the
 * accounts, drives the transfers with every client always having one request in flight, and
 * compares the balances with the books that the workload kept.
 */
import { headerSize, messageSizeMax } from "../../core/limits.ts";
import type { Io } from "../../io/io.ts";
import { multiBatchTrailerSize } from "../../wire/multi-batch.ts";
import {
  eventMax,
  Operation,
  operationResultSize,
  registerReplyBodySize,
} from "../../wire/operations.ts";
import { CommandError } from "../command-error.ts";
import type { SocketAddress } from "../values.ts";
import { Latencies } from "./latencies.ts";
import { RequestBuffer } from "./request-buffer.ts";
import { Session, type SessionEvents } from "./session.ts";
import { PendingBatch, Workload, type WorkloadOptions } from "./workload.ts";

/** Status of an event that was created. */
const statusCreated = 0xffff_ffff;

/** A create result: timestamp (two words), status, reserved. */
const resultWords = operationResultSize[Operation.createTransfers]! / 4;
const resultStatusWord = 2;

const tickMs = 100;

/**
 * Clients that connect and register at the same time. A server logs registrations one by one and
 * drops what it cannot queue, so thousands at once would mostly wait for their own retries.
 */
const registeringMax = 32;

export interface RunOptions extends WorkloadOptions {
  /** Of the cluster's replicas, by index. */
  readonly addresses: readonly SocketAddress[];
  readonly cluster: bigint;
  readonly clients: number;
  readonly batch: number;
}

export type Phase = "accounts" | "transfers" | "balances";

export interface RunHooks {
  /** Called as each phase begins, with nothing in flight. */
  onPhase(phase: Phase): void;
  /** Called several times a second: events done of all in the phase. */
  onProgress(phase: Phase, done: number, all: number): void;
  /**
   * Called for each batch of transfers when it was answered. Milliseconds.
   * @param sentMs - Since the first batch was sent.
   */
  onBatch(client: number, sentMs: number, latencyMs: number, events: number): void;
  /**
   * Called for each batch of transfers when it was made: they stand in words[at …).
   * @param first - The first one's number, from 0.
   */
  onMade?(words: Uint32Array, at: number, first: number, events: number): void;
}

/** Totals of the accounts' balances. */
export interface Totals {
  debitsPosted: bigint;
  creditsPosted: bigint;
  debitsPending: bigint;
  creditsPending: bigint;
}

export interface RunResult {
  readonly accountsMs: number;
  readonly transfersMs: number;
  readonly batches: number;
  /** Of whole batches, in milliseconds. */
  readonly latencyP50Ms: number;
  readonly latencyP99Ms: number;
  readonly latencyMaxMs: number;
  /** The longest time in which no batch of transfers was answered, and when it began, after the first was sent. */
  readonly gapMs: number;
  readonly gapAtMs: number;
  /** CPU time of this process while the transfers ran. Seconds. */
  readonly generatorCpuS: number;
  readonly retries: number;
  /** Events per status, for events that were not created. */
  readonly refused: ReadonlyMap<number, number>;
  readonly totals: Totals;
  /** What is wrong with the totals, or undefined. */
  readonly imbalance: string | undefined;
}

/** A client and the two request buffers that it alternates between. */
interface Client {
  readonly session: Session;
  readonly buffers: readonly [RequestBuffer, RequestBuffer];
  readonly pending: PendingBatch;
  /** The buffer in flight, or sent last. */
  current: 0 | 1;
  /** The other buffer holds a batch that waits to be sent. */
  filled: boolean;
}

export class Runner {
  private readonly workload: Workload;
  private readonly sessions: Session[] = [];
  private readonly refused = new Map<number, number>();
  private readonly latencies = new Latencies();
  /** What `onReply` and `onSent` do in the present phase. */
  private handleReply: (session: Session) => void = () => {};
  private handleSent: (session: Session) => void = () => {};
  private handleRegistered: () => void = () => {};
  private handleFailure: (error: Error) => void = () => {};
  /** While transfers run, by `performance.now`. */
  private lastReplyMs = 0;
  private gapMs = 0;
  private gapStartMs = 0;
  private phase: Phase = "accounts";
  private done = 0;
  private all = 0;

  /** @param io - Not started: the run starts it, and stops it in the end. */
  constructor(
    private readonly io: Io,
    private readonly options: RunOptions,
    private readonly hooks: RunHooks,
  ) {
    this.workload = new Workload(options);
    const cluster = new Uint32Array(new BigUint64Array(2).buffer);
    for (let word = 0; word < 4; word += 1) {
      cluster[word] = Number((options.cluster >> BigInt(32 * word)) & 0xffff_ffffn);
    }
    const events: SessionEvents = {
      onRegistered: () => this.handleRegistered(),
      onSent: (session) => this.handleSent(session),
      onReply: (session) => this.handleReply(session),
      onFailure: (sentence) => this.handleFailure(new CommandError(sentence)),
    };
    for (let index = 0; index < options.clients; index += 1) {
      // The first one asks for all the balances, too.
      const replySizeMax = index === 0 ? messageSizeMax : replySizeOf(options.batch);
      this.sessions.push(new Session(index, io, options.addresses, cluster, replySizeMax, events));
    }
  }

  /** @throws {CommandError} when the server cannot be reached or answers what it must not. */
  async run(): Promise<RunResult> {
    this.io.start(() => {});
    const timer = setInterval(() => {
      const nowMs = performance.now();
      for (const session of this.sessions) session.tick(nowMs);
      if (this.all > 0) this.hooks.onProgress(this.phase, this.done, this.all);
    }, tickMs);
    try {
      return await new Promise<RunResult>((resolve, reject) => {
        this.handleFailure = reject;
        this.phases().then(resolve, reject);
      });
    } finally {
      clearInterval(timer);
      for (const session of this.sessions) session.close();
      // Ends the connections, and comes back when no operation of theirs is in flight.
      await new Promise<void>((resolve) => this.io.stop(resolve));
    }
  }

  /** No further batches are made: the transfers are over when those that are made are answered. */
  endTransfers(): void {
    this.workload.end();
  }

  private async phases(): Promise<RunResult> {
    await this.register();
    this.checkBatchFits();

    this.begin("accounts", this.options.accounts);
    const accountsStartMs = performance.now();
    await this.createAccounts();
    const accountsMs = performance.now() - accountsStartMs;

    this.begin("transfers", this.options.transfers);
    const cpuBefore = process.cpuUsage();
    const transfersStartMs = performance.now();
    await this.createTransfers(transfersStartMs);
    const transfersMs = performance.now() - transfersStartMs;
    const cpu = process.cpuUsage(cpuBefore);

    this.begin("balances", this.options.accounts);
    const totals = await this.sumBalances();

    const [p50, p99, max] = this.latencies.percentiles([0.5, 0.99, 1]) as [number, number, number];
    return {
      accountsMs,
      transfersMs,
      batches: this.latencies.count,
      latencyP50Ms: p50,
      latencyP99Ms: p99,
      latencyMaxMs: max,
      gapMs: this.gapMs,
      gapAtMs: this.gapStartMs - transfersStartMs,
      generatorCpuS: (cpu.user + cpu.system) / 1e6,
      retries: this.sessions.reduce((sum, session) => sum + session.retries, 0),
      refused: this.refused,
      totals,
      imbalance: this.imbalance(totals),
    };
  }

  private begin(phase: Phase, all: number): void {
    this.phase = phase;
    this.done = 0;
    this.all = all;
    this.hooks.onPhase(phase);
  }

  private register(): Promise<void> {
    return new Promise((resolve) => {
      let started = 0;
      let missing = this.sessions.length;
      const startNext = (): void => {
        if (started === this.sessions.length) return;
        this.sessions[started]!.start();
        started += 1;
      };
      this.handleRegistered = () => {
        missing -= 1;
        if (missing === 0) resolve();
        else startNext();
      };
      for (let index = 0; index < registeringMax; index += 1) startNext();
    });
  }

  private eventsPerRequest(operation: number): number {
    return eventMax(operation, this.sessions[0]!.batchSizeLimit);
  }

  private checkBatchFits(): void {
    const most = this.eventsPerRequest(Operation.createTransfers);
    if (this.options.batch > most) {
      throw new CommandError(
        `the server takes at most ${most} transfers in one request; give --batch=${most} or less.`,
      );
    }
  }

  /** Sends batches of accounts one after the other and hands each reply to `onBatch`. */
  private overAccounts(
    operation: number,
    fill: (buffer: RequestBuffer, first: number, count: number) => void,
    onBatch: (session: Session, count: number) => void,
  ): Promise<void> {
    const session = this.sessions[0]!;
    const { accounts } = this.options;
    const most = this.eventsPerRequest(operation);
    const buffer = new RequestBuffer(this.io, operation, Math.min(most, accounts));
    return new Promise((resolve) => {
      let next = 0;
      const sendNext = (): void => {
        const count = Math.min(most, accounts - next);
        if (count === 0) {
          resolve();
          return;
        }
        fill(buffer, next, count);
        next += count;
        session.send(buffer);
      };
      this.handleReply = () => {
        onBatch(session, buffer.events);
        this.done = next;
        sendNext();
      };
      sendNext();
    });
  }

  private createAccounts(): Promise<void> {
    return this.overAccounts(
      Operation.createAccounts,
      (buffer, first, count) => this.workload.fillAccounts(buffer, first, count),
      (session, count) => this.checkResults(session, count),
    );
  }

  private createTransfers(startMs: number): Promise<void> {
    const { batch } = this.options;
    const clients = this.sessions.map(
      (session): Client => ({
        session,
        buffers: [
          new RequestBuffer(this.io, Operation.createTransfers, batch),
          new RequestBuffer(this.io, Operation.createTransfers, batch),
        ],
        pending: new PendingBatch(batch),
        current: 0,
        filled: false,
      }),
    );
    return new Promise((resolve) => {
      let busy = 0;
      this.lastReplyMs = startMs;
      this.handleReply = (session) => {
        const client = clients[session.index]!;
        const events = client.buffers[client.current].events;
        const { latencyMs } = session;
        this.latencies.add(latencyMs);
        this.noteReply(session.sentAtMs + latencyMs);
        this.hooks.onBatch(session.index, session.sentAtMs - startMs, latencyMs, events);
        this.checkResults(session, events);
        this.done += events;
        this.fillNext(client);
        if (client.filled) {
          this.sendFilled(client);
        } else {
          busy -= 1;
          if (busy > 0) return;
          this.handleSent = () => {};
          resolve();
        }
      };
      // The next batch is made while the server works on the one just sent.
      this.handleSent = (session) => this.fillNext(clients[session.index]!);
      for (const client of clients) {
        this.fillNext(client);
        if (!client.filled) break; // Fewer batches than clients.
        busy += 1;
        this.sendFilled(client);
      }
    });
  }

  private noteReply(nowMs: number): void {
    if (nowMs - this.lastReplyMs > this.gapMs) {
      this.gapMs = nowMs - this.lastReplyMs;
      this.gapStartMs = this.lastReplyMs;
    }
    this.lastReplyMs = nowMs;
  }

  /** Fills the buffer that is not in flight, unless that is done or nothing is left to send. */
  private fillNext(client: Client): void {
    if (client.filled || this.workload.finished) return;
    const buffer = client.buffers[client.current === 0 ? 1 : 0];
    const first = this.workload.issued;
    this.workload.fillTransfers(buffer, this.options.batch, client.pending);
    this.hooks.onMade?.(buffer.words, headerSize / 4, first, buffer.events);
    client.filled = true;
  }

  private sendFilled(client: Client): void {
    client.current = client.current === 0 ? 1 : 0;
    client.filled = false;
    client.session.send(client.buffers[client.current]);
  }

  private checkResults(session: Session, events: number): void {
    if (session.replyElements() !== events) {
      this.handleFailure(
        new CommandError(
          `the server's reply does not hold one result for each of ${events} events.`,
        ),
      );
      return;
    }
    const words = session.replyWords;
    let at = headerSize / 4 + resultStatusWord;
    for (let index = 0; index < events; index += 1) {
      const status = words[at]!;
      if (status !== statusCreated) this.refused.set(status, (this.refused.get(status) ?? 0) + 1);
      at += resultWords;
    }
  }

  private async sumBalances(): Promise<Totals> {
    const totals: Totals = {
      debitsPosted: 0n,
      creditsPosted: 0n,
      debitsPending: 0n,
      creditsPending: 0n,
    };
    let found = 0;
    await this.overAccounts(
      Operation.lookupAccounts,
      (buffer, first, count) => this.workload.fillLookup(buffer, first, count),
      (session) => {
        const count = Math.max(0, session.replyElements());
        const { buffer, byteOffset } = session.replyWords;
        const words = new BigUint64Array(buffer, byteOffset + headerSize, count * 16);
        for (let index = 0; index < count; index += 1) {
          const at = index * 16;
          totals.debitsPending += words[at + 2]! + (words[at + 3]! << 64n);
          totals.debitsPosted += words[at + 4]! + (words[at + 5]! << 64n);
          totals.creditsPending += words[at + 6]! + (words[at + 7]! << 64n);
          totals.creditsPosted += words[at + 8]! + (words[at + 9]! << 64n);
        }
        found += count;
      },
    );
    if (found !== this.options.accounts) {
      throw new CommandError(
        `the server found ${found} of the ${this.options.accounts} accounts that it had created.`,
      );
    }
    return totals;
  }

  private imbalance(totals: Totals): string | undefined {
    if (totals.debitsPosted !== totals.creditsPosted) {
      return `posted debits are ${totals.debitsPosted}, posted credits ${totals.creditsPosted}`;
    }
    if (totals.debitsPending !== totals.creditsPending) {
      return `pending debits are ${totals.debitsPending}, pending credits ${totals.creditsPending}`;
    }
    // Books of what was asked for say nothing about a run in which events were refused.
    if (this.refused.size > 0) return undefined;
    if (totals.debitsPosted !== BigInt(this.workload.postedTotal)) {
      return `posted debits are ${totals.debitsPosted}, but ${this.workload.postedTotal} were sent`;
    }
    if (totals.debitsPending !== BigInt(this.workload.pendingTotal)) {
      return `pending debits are ${totals.debitsPending}, but ${this.workload.pendingTotal} were sent`;
    }
    return undefined;
  }
}

/** Header and body of the largest answer to `register` and to batches of transfers. */
function replySizeOf(batch: number): number {
  const resultSize = operationResultSize[Operation.createTransfers]!;
  const body = batch * resultSize + multiBatchTrailerSize(resultSize, 1);
  return headerSize + Math.max(body, registerReplyBodySize);
}
