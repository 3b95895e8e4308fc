/**
 * Questions to a server that holds a load of `pacioli benchmark`, one at a time over one session, and
 * how long their answers take. The answers are checked as far as they show themselves: figures of
 * wrong answers would mean nothing.
 */
import { Latencies } from "../../src/cli/benchmark/latencies.ts";
import { RequestBuffer } from "../../src/cli/benchmark/request-buffer.ts";
import { Session } from "../../src/cli/benchmark/session.ts";
import type { SocketAddress } from "../../src/cli/values.ts";
import { headerSize, messageSizeMax } from "../../src/core/limits.ts";
import type { Prng } from "../../src/core/prng.ts";
import type { Io } from "../../src/io/io.ts";
import { openIo } from "../../src/io/open-io.ts";
import {
  AccountFilterFlag,
  accountFilterRecord,
  queryFilterRecord,
  transferRecord,
} from "../../src/ledger/records.ts";
import { Operation } from "../../src/wire/operations.ts";
import type { IdSample } from "./id-sample.ts";

const bodyWord = headerSize / 4;
const recordWords = 32;
const idWords = 4;
const tickMs = 100;

/** Ids of one lookup. */
export const lookupIds = 8189;
const limit = 100;
/** Ledger and code of the load. */
const ledger = 1;
const code = 1;

export interface QuestionFigures {
  readonly question: string;
  /** The first time on the server that took the load, the second, or the first after a restart. */
  readonly when: "first" | "warm" | "cold";
  readonly asked: number;
  /** Rows in the answers, on average. */
  readonly rows: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly slowestMs: number;
}

/** A session of its own with a server, for one question at a time. */
class Asker {
  private readonly session: Session;
  private readonly timer: NodeJS.Timeout;
  private readonly registered: Promise<void>;
  private answered: () => void = () => {};
  private failed: (error: Error) => void = () => {};

  constructor(
    readonly io: Io,
    address: SocketAddress,
  ) {
    let resolveRegistered: () => void = () => {};
    this.registered = new Promise((resolve, reject) => {
      resolveRegistered = resolve;
      this.failed = reject;
    });
    this.session = new Session(0, io, [address], new Uint32Array(4), messageSizeMax, {
      onRegistered: () => resolveRegistered(),
      onSent: () => {},
      onReply: () => this.answered(),
      onFailure: (sentence) => this.failed(new Error(sentence)),
    });
    io.start(() => {});
    this.timer = setInterval(() => this.session.tick(performance.now()), tickMs);
    this.session.start();
  }

  ready(): Promise<void> {
    return this.registered;
  }

  /**
   * Asks `count` questions. `check` gets each answer's rows, whose first word stands at words[at],
   * and says whether they can be right.
   */
  ask(
    count: number,
    buffer: RequestBuffer,
    fill: (index: number) => void,
    check: (index: number, rows: number, words: Uint32Array, at: number) => boolean,
  ): Promise<{ readonly latencies: Latencies; readonly rows: number }> {
    const { session } = this;
    const latencies = new Latencies();
    let rows = 0;
    let index = 0;
    return new Promise((resolve, reject) => {
      this.failed = reject;
      const send = (): void => {
        fill(index);
        session.send(buffer);
      };
      this.answered = () => {
        latencies.add(session.latencyMs);
        const elements = session.replyElements();
        if (elements < 0 || !check(index, elements, session.replyWords, bodyWord)) {
          reject(new Error(`the answer to question ${index} of ${count} is wrong.`));
          return;
        }
        rows += elements;
        index += 1;
        if (index === count) resolve({ latencies, rows });
        else send();
      };
      send();
    });
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    this.session.close();
    await new Promise<void>((resolve) => this.io.stop(resolve));
  }
}

export class Questions {
  private readonly accounts: Uint32Array;
  /** Of the transfers whose ids are known, as the first lookups tell them: two words each. */
  private readonly timestamps: Uint32Array;
  private timestampsKnown = false;
  private readonly lookups: number;

  /**
   * @param count - Queries of each kind.
   * @param accountInUserData - Transfers have the account that they debit in their user_data_64.
   */
  constructor(
    private readonly count: number,
    accounts: number,
    private readonly accountInUserData: boolean,
    private readonly ids: IdSample,
    private readonly random: Prng,
  ) {
    this.accounts = Uint32Array.from({ length: count }, () => 1 + random.below(accounts));
    this.lookups = Math.floor(ids.count / lookupIds);
    this.timestamps = new Uint32Array(2 * count);
  }

  async ask(
    address: SocketAddress,
    whens: readonly QuestionFigures["when"][],
  ): Promise<QuestionFigures[]> {
    const asker = new Asker(openIo({ backend: "auto", drive: "owned" }).io, address);
    try {
      await asker.ready();
      const all: QuestionFigures[] = [];
      for (const when of whens) all.push(...(await this.askAll(asker, when)));
      return all;
    } finally {
      await asker.close();
    }
  }

  private async askAll(asker: Asker, when: QuestionFigures["when"]): Promise<QuestionFigures[]> {
    const figures: QuestionFigures[] = [];
    const note = (
      question: string,
      asked: number,
      { latencies, rows }: { latencies: Latencies; rows: number },
    ): void => {
      const [p50Ms, p99Ms, slowestMs] = latencies.percentiles([0.5, 0.99, 1]) as [
        number,
        number,
        number,
      ];
      figures.push({ question, when, asked, rows: rows / asked, p50Ms, p99Ms, slowestMs });
    };
    const { count, lookups } = this;
    const noteLookups = async (): Promise<void> =>
      note(`lookup_transfers, ${lookupIds} ids`, lookups, await this.askLookups(asker));
    note(`get_account_transfers, limit ${limit}`, count, await this.askAccounts(asker));
    if (this.accountInUserData) {
      const found = await this.askUserData(asker);
      note(`query_transfers by user_data_64, limit ${limit}`, count, found);
    }
    if (lookups === 0) return figures;
    // The places where queries begin are learnt from lookups; after that, those read much and come last.
    const learns = !this.timestampsKnown;
    if (learns) await noteLookups();
    note(`query_transfers by ledger and code, limit ${limit}`, count, await this.askQueries(asker));
    if (!learns) await noteLookups();
    return figures;
  }

  private askAccounts(asker: Asker) {
    const buffer = new RequestBuffer(asker.io, Operation.getAccountTransfers, 1);
    const { word } = accountFilterRecord;
    return asker.ask(
      this.count,
      buffer,
      (index) => {
        buffer.words.fill(0, bodyWord, bodyWord + recordWords);
        buffer.words[bodyWord + word.accountId] = this.accounts[index]!;
        buffer.words[bodyWord + word.limit] = limit;
        buffer.words[bodyWord + word.flags] = AccountFilterFlag.debits | AccountFilterFlag.credits;
        buffer.sealBatch(1);
      },
      (index, rows, words, at) => {
        const account = this.accounts[index]!;
        for (let row = 0; row < rows; row += 1) {
          const from = at + row * recordWords;
          const debit = words[from + transferRecord.word.debitAccountId];
          const credit = words[from + transferRecord.word.creditAccountId];
          if (debit !== account && credit !== account) return false;
        }
        return rows <= limit;
      },
    );
  }

  private askUserData(asker: Asker) {
    const buffer = new RequestBuffer(asker.io, Operation.queryTransfers, 1);
    const { word } = queryFilterRecord;
    return asker.ask(
      this.count,
      buffer,
      (index) => {
        buffer.words.fill(0, bodyWord, bodyWord + recordWords / 2);
        buffer.words[bodyWord + word.userData64] = this.accounts[index]!;
        buffer.words[bodyWord + word.limit] = limit;
        buffer.sealBatch(1);
      },
      (index, rows, words, at) => {
        const account = this.accounts[index]!;
        for (let row = 0; row < rows; row += 1) {
          const from = at + row * recordWords;
          if (words[from + transferRecord.word.userData64] !== account) return false;
        }
        return rows <= limit;
      },
    );
  }

  /** All transfers of the load's ledger and code, from that of a random transfer on. */
  private askQueries(asker: Asker) {
    const buffer = new RequestBuffer(asker.io, Operation.queryTransfers, 1);
    const { word } = queryFilterRecord;
    return asker.ask(
      this.count,
      buffer,
      (index) => {
        buffer.words.fill(0, bodyWord, bodyWord + recordWords / 2);
        buffer.words[bodyWord + word.ledger] = ledger;
        buffer.words[bodyWord + word.code] = code;
        buffer.words[bodyWord + word.timestampMin] = this.timestamps[2 * index]!;
        buffer.words[bodyWord + word.timestampMin + 1] = this.timestamps[2 * index + 1]!;
        buffer.words[bodyWord + word.limit] = limit;
        buffer.sealBatch(1);
      },
      (index, rows, words, at) => {
        // The first is the very transfer whose timestamp was given.
        const from = at + transferRecord.word.timestamp;
        return (
          rows > 0 &&
          rows <= limit &&
          words[from] === this.timestamps[2 * index] &&
          words[from + 1] === this.timestamps[2 * index + 1]
        );
      },
    );
  }

  private askLookups(asker: Asker) {
    const buffer = new RequestBuffer(asker.io, Operation.lookupTransfers, lookupIds);
    const { lookups, ids, timestamps, count } = this;
    // Each asks for ids from everywhere in the load.
    const idAt = (index: number, position: number): number =>
      (position * lookups + index) * idWords;
    return asker.ask(
      lookups,
      buffer,
      (index) => {
        for (let position = 0; position < lookupIds; position += 1) {
          const from = idAt(index, position);
          const to = bodyWord + position * idWords;
          buffer.words.set(ids.words.subarray(from, from + idWords), to);
        }
        buffer.sealBatch(lookupIds);
      },
      (index, rows, words, at) => {
        if (rows !== lookupIds) return false;
        for (let row = 0; row < rows; row += 1) {
          const from = at + row * recordWords;
          const id = idAt(index, row);
          for (let word = 0; word < idWords; word += 1) {
            if (words[from + word] !== ids.words[id + word]) return false;
          }
        }
        if (this.timestampsKnown) return true;
        this.timestampsKnown = true;
        for (let query = 0; query < count; query += 1) {
          const row = this.random.below(rows);
          const from = at + row * recordWords + transferRecord.word.timestamp;
          timestamps[2 * query] = words[from]!;
          timestamps[2 * query + 1] = words[from + 1]!;
        }
        return true;
      },
    );
  }
}
