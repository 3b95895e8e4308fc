/**
 * The state machine alone, in process, over a storage in memory: transfers per second, how much
 * slower the slowest batch is than the median one, and what a transfer costs in memory. Prints one
 * table, of batches by wall clock, then by CPU time: the latter means something on a machine that does
 * other work at the same time, too.
 *
 * Usage: node scripts/bench.mjs state-machine [--transfers=5000000] [--only=TEXT] [--memory=heap]
 *   --memory=heap  plain typed arrays instead of the server's memory with huge pages
 */
import { parseArgs } from "node:util";
import { formatCount, formatTable } from "../src/cli/output.ts";
import { Prng } from "../src/core/prng.ts";
import { transferRecord } from "../src/ledger/records.ts";
import { StateMachine } from "../src/ledger/state-machine.ts";
import { statusCreated } from "../src/ledger/status.ts";
import { allocateLarge, commitPages } from "../src/native/memory.ts";
import { wordArena } from "../src/server/word-arena.ts";
import { RingStore } from "./state-machine/ring-store.ts";

const operationCreateAccounts = 146;
const operationCreateTransfers = 147;
const batchMax = 8189;
const eventWords = 32;
const bodyAt = 256;
const word = transferRecord.word;

interface Load {
  readonly name: string;
  readonly accounts: number;
  readonly ids: "sequential" | "random";
  /** Transfers of which every second one is pending and the next batch posts it. */
  readonly twoPhase?: boolean;
  /** Every transfer has user data of its own. */
  readonly userData?: boolean;
}

const loads: readonly Load[] = [
  { name: "sequential ids, 10k accounts", accounts: 10_000, ids: "sequential" },
  { name: "random ids, 10k accounts", accounts: 10_000, ids: "random" },
  { name: "sequential ids, 1M accounts", accounts: 1_000_000, ids: "sequential" },
  { name: "random ids, 1M accounts", accounts: 1_000_000, ids: "random" },
  {
    name: "half pending, half posting",
    accounts: 10_000,
    ids: "sequential",
    twoPhase: true,
  },
  { name: "unique user data", accounts: 10_000, ids: "sequential", userData: true },
];

class Bench {
  private readonly store: RingStore;
  private readonly machine: StateMachine;
  private readonly request = new Uint8Array(1024 * 1024);
  private readonly words = new Uint32Array(this.request.buffer);
  private readonly reply = new Uint8Array(1024 * 1024);
  private readonly replyWords = new Uint32Array(this.reply.buffer);
  private readonly random = new Prng(42);
  private time = 1_795_000_000_000_000_000n;
  private nextId = 1;
  readonly batchNs: number[] = [];
  readonly batchCpuUs: number[] = [];
  heapBytes = 0;

  constructor(
    private readonly load: Load,
    allocateWords: (count: number) => Uint32Array,
  ) {
    this.store = new RingStore(allocateWords);
    this.machine = new StateMachine(this.store, { batchSizeLimit: 1_048_320, allocateWords });
    this.machine.open(() => {});
    for (let first = 0; first < load.accounts; first += batchMax) {
      const count = Math.min(batchMax, load.accounts - first);
      for (let index = 0; index < count; index += 1) {
        const at = bodyAt / 4 + index * eventWords;
        this.words.fill(0, at, at + eventWords);
        this.words[at] = first + index + 1;
        this.words[at + word.ledger] = 1;
        this.words[at + word.code] = 1;
      }
      this.submit(operationCreateAccounts, count, false);
    }
  }

  run(transfers: number): void {
    for (let done = 0; done < transfers; done += batchMax) {
      const count = Math.min(batchMax, transfers - done);
      this.fill(count);
      this.submit(operationCreateTransfers, count, true);
    }
  }

  private fill(count: number): void {
    const { words, random, load } = this;
    for (let index = 0; index < count; index += 1) {
      const at = bodyAt / 4 + index * eventWords;
      words.fill(0, at, at + eventWords);
      const id = this.nextId;
      this.nextId += 1;
      words[at] = load.ids === "random" ? random.u32() : id;
      if (load.ids === "random") {
        words[at + 1] = random.u32();
        words[at + 2] = random.u32();
        words[at + 3] = random.u32();
      }
      words[at + word.amount] = 1 + (id % 1000);
      // Batches of an odd size: every second transfer of one is pending, and the next posts it.
      const posts = load.twoPhase === true && id > batchMax + 1 && id % 2 === 0;
      if (posts) {
        words[at + word.pendingId] = id - batchMax;
        words[at + word.amount] = 0xffff_ffff;
        words[at + word.amount + 1] = 0xffff_ffff;
        words[at + word.amount + 2] = 0xffff_ffff;
        words[at + word.amount + 3] = 0xffff_ffff;
        words[at + word.code] = 4 << 16;
        continue;
      }
      const debit = random.below(load.accounts);
      let credit = random.below(load.accounts - 1);
      if (credit >= debit) credit += 1;
      words[at + word.debitAccountId] = debit + 1;
      words[at + word.creditAccountId] = credit + 1;
      words[at + word.ledger] = 1;
      words[at + word.code] = load.twoPhase === true && id % 2 === 1 ? 1 | (2 << 16) : 1;
      if (load.twoPhase === true && id % 2 === 1) words[at + word.timeout] = 3600;
      if (load.userData === true) {
        words[at + word.userData128] = id;
        words[at + word.userData128 + 3] = 1;
        words[at + word.userData64] = id;
        words[at + word.userData64 + 1] = 2;
        words[at + word.userData32] = id;
      }
    }
  }

  private submit(operation: number, count: number, measured: boolean): void {
    const size = (count + 1) * 128;
    this.request.fill(0xff, bodyAt + count * 128, bodyAt + size);
    this.words[(bodyAt + size) / 4 - 1] = (count << 16) | 1;
    // The trailer reads from its end: number of sub-batches, then their counts.
    this.request[bodyAt + size - 2] = 1;
    this.request[bodyAt + size - 1] = 0;
    this.request[bodyAt + size - 4] = count & 0xff;
    this.request[bodyAt + size - 3] = count >>> 8;
    this.time += 10_000_000n;
    const low = Number(this.time & 0xffff_ffffn);
    const high = Number(this.time >> 32n);
    const { machine, words, request, replyWords, reply } = this;
    const heapBefore = measured ? process.memoryUsage().heapUsed : 0;
    const cpuBefore = process.cpuUsage();
    const before = process.hrtime.bigint();
    if (machine.validate(operation, words, request, bodyAt, size) !== 0) throw new Error("invalid");
    const ready = machine.prefetch(
      operation,
      low,
      high,
      words,
      request,
      bodyAt,
      size,
      replyWords,
      reply,
      bodyAt,
      () => {},
    );
    if (!ready) throw new Error("the storage is in memory");
    machine.commit();
    const after = process.hrtime.bigint();
    if (measured) {
      const cpu = process.cpuUsage(cpuBefore);
      this.batchCpuUs.push(cpu.user + cpu.system);
      this.heapBytes += Math.max(0, process.memoryUsage().heapUsed - heapBefore);
      this.batchNs.push(Number(after - before));
    }
    this.store.endOp();
    for (let index = 0; index < count; index += 1) {
      const status = replyWords[bodyAt / 4 + index * 4 + 2];
      if (status !== statusCreated) throw new Error(`event ${index}: status ${status}`);
    }
  }
}

function measure(load: Load, transfers: number): string[] {
  let words = 0;
  const allocate =
    values.memory === "heap"
      ? (count: number) => new Uint32Array(count)
      : wordArena(allocateLarge, commitPages);
  const bench = new Bench(load, (count) => {
    words += count;
    return allocate(count);
  });
  const before = words;
  bench.run(transfers);
  const memory = 4 * (words - before);
  // The first batches run code that is not compiled yet.
  const warmUp = Math.min(40, bench.batchNs.length >>> 1);
  const sorted = (values: number[]): Float64Array => Float64Array.from(values.slice(warmUp)).sort();
  const wallMs = sorted(bench.batchNs).map((ns) => ns / 1e6);
  const cpuMs = sorted(bench.batchCpuUs).map((us) => us / 1e3);
  const at = (values: Float64Array, share: number): number =>
    values[Math.min(values.length - 1, Math.floor(values.length * share))]!;
  const rate = (ms: number): string => formatCount(Math.round((batchMax / ms) * 1e3));
  const totalNs = bench.batchNs.reduce((sum, ns) => sum + ns, 0);
  return [
    load.name,
    formatCount(Math.round((transfers / totalNs) * 1e9)),
    at(wallMs, 0.5).toFixed(2),
    at(wallMs, 0.99).toFixed(2),
    at(wallMs, 1).toFixed(2),
    rate(at(cpuMs, 0.1)),
    rate(at(cpuMs, 0.5)),
    at(cpuMs, 0.5).toFixed(2),
    at(cpuMs, 0.99).toFixed(2),
    at(cpuMs, 1).toFixed(2),
    (bench.heapBytes / transfers).toFixed(1),
    (memory / transfers).toFixed(0),
  ];
}

const { values } = parseArgs({
  options: {
    transfers: { type: "string", default: "5000000" },
    only: { type: "string", default: "" },
    memory: { type: "string", default: "large" },
  },
});
const rows = loads
  .filter(({ name }) => name.includes(values.only))
  .map((load) => measure(load, Number(values.transfers)));
console.log(
  formatTable(
    [
      "load",
      "transfers/s",
      "p50 ms",
      "p99 ms",
      "max ms",
      "CPU: /s p10",
      "/s p50",
      "p50 ms",
      "p99 ms",
      "max ms",
      "heap B/transfer",
      "index B/transfer",
    ],
    rows,
  ),
);
