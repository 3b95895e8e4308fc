/**
 * A replica that is crashed again and again, in one thread over a file in memory: random requests
 * of several clients, the crash at a random write (often while the replica starts), a start on what
 * is left, the judge's verdict, and on. `CrashRun` is one such life, drawn from a seed.
 */
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { Prng } from "../../src/core/prng.ts";
import type { RunOptions } from "../../src/storage/runs/options.ts";
import { Crash, type MemoryFileIo } from "../wal/memory-file-io.ts";
import { formatMemoryFile, Harness, type SteppedIo, TestTime } from "./harness.ts";
import { Judge, JudgementError } from "./judge.ts";
import { ReusedMemory } from "./reused-memory.ts";
import { TestClient } from "./test-client.ts";
import { Workload } from "./workload.ts";

const accounts = 12;

/** Rounds of requests in a life: many times what it takes to reach a crash. */
const roundsMax = 4000;

/** A client that seldom asks for anything new: its reply is old, and only the replies zone has it. */
const idleClient = 5;

/**
 * Steps of the I/O from one tick of the journal to the next, one for each life: from a disk that is idle
 * most of the time to one that does a sector's worth of requests and a checkpoint meanwhile.
 */
const tickPaces: readonly number[] = [3, 12, 60, 400];

/** One replica lives at a time. */
const reused = new ReusedMemory();

/** Something between the replica and its disk. */
export interface WrappedIo extends SteppedIo {
  /** The crash comes now: what it holds back is on its way to the disk. */
  beforeCrash(): void;
}

export interface CrashRunOptions {
  readonly seed: number;
  readonly crashes: number;
  /** Share of crashes that kill the process, and the disk lives on; in others the power is cut. */
  readonly kills?: number;
  /** Share of the lives that end after a few writes: while the replica starts. Default 0.3. */
  readonly short?: number;
  /** Writes of such a life: fewer than this. Default 12. */
  readonly shortWrites?: number;
  /** Share of the rounds that end when nothing is in flight any more. Default 0.5. */
  readonly quiet?: number;
  /** Events of a request at most. Default 20. */
  readonly eventsMax?: number;
  /** A crash may leave garbage where a sector was being written. */
  readonly garbage?: boolean;
  /** Rounds of requests in the last life, which no crash ends. Default 0. */
  readonly roundsLast?: number;
  /** See `HostOptions`. Default: yes, as the server of a cluster of one. */
  readonly journalTicks?: boolean;
  /** See `HarnessOptions`. Default: each life has its own. */
  readonly stepsPerTick?: number;
  /** See `HostOptions`. */
  readonly runs?: Partial<RunOptions>;
  readonly wrap?: (io: MemoryFileIo) => WrappedIo;
  /** Changes a replica before it is opened. */
  readonly onComposed?: (parts: ReplicaParts) => void;
  /** Looks at what a crash left. */
  readonly onCrash?: (left: MemoryFileIo) => void;
}

export class CrashRun {
  readonly judge = new Judge(accounts);
  /** Crashes so far. */
  crashes = 0;
  private readonly random: Prng;
  private readonly time = new TestTime();
  readonly clients = [1, 2, 3, 4, idleClient].map((id) => new TestClient(id));
  readonly workload: Workload;

  constructor(private readonly options: CrashRunOptions) {
    this.random = new Prng(options.seed);
    this.workload = new Workload(options.seed, accounts, options.eventsMax);
  }

  /**
   * @returns The last incarnation, at rest.
   * @throws {JudgementError} What the replica did wrong.
   */
  run(): Harness {
    const { crashes, kills = 0, seed, garbage = false } = this.options;
    const { random } = this;
    let io = formatMemoryFile(seed, { garbage });
    while (this.crashes < crashes) {
      io.crashAtWrite = io.writes + this.lifetime();
      const wrapped = this.options.wrap?.(io);
      this.live(wrapped ?? io);
      wrapped?.beforeCrash();
      this.crashes += 1;
      const next = seed + this.crashes;
      const killed = kills === 1 || (kills > 0 && random.chance(kills));
      io = killed ? io.afterKill(next) : io.afterCrash(next);
      this.options.onCrash?.(io);
      this.time.now += BigInt(random.below(3)) * 700_000_000n;
    }
    return this.liveLast(this.options.wrap?.(io) ?? io);
  }

  /** Writes up to the next crash. */
  private lifetime(): number {
    const { short = 0.3, shortWrites = 12 } = this.options;
    return this.random.below(this.random.chance(short) ? shortWrites : 170);
  }

  private liveLast(io: SteppedIo): Harness {
    const harness = this.prepareStart(io);
    this.start(harness);
    for (let round = 0; round < (this.options.roundsLast ?? 0); round += 1) this.round(harness);
    for (const client of this.clients) {
      if (client.inFlight !== null) harness.deliver(client.inFlight);
    }
    harness.settle();
    this.judge.takeReplies(harness, this.clients);
    this.judge.verify(harness);
    return harness;
  }

  /** One incarnation, up to its crash. */
  private live(io: SteppedIo): void {
    const harness = this.prepareStart(io);
    try {
      this.start(harness);
      for (let round = 0; round < roundsMax; round += 1) this.round(harness);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.judge.takeReplies(harness, this.clients);
      return;
    }
    throw new JudgementError(`no crash in ${roundsMax} rounds: the replica does nothing any more`);
  }

  private prepareStart(io: SteppedIo): Harness {
    const { onComposed, runs = {}, journalTicks = true } = this.options;
    const grouping = this.random.chance(0.7);
    const pace = tickPaces[(this.options.seed + this.crashes) % tickPaces.length]!;
    const stepsPerTick = this.options.stepsPerTick ?? pace;
    const common = { grouping, reused, runs, journalTicks, stepsPerTick };
    const options = onComposed === undefined ? common : { ...common, onComposed };
    return new Harness(io, this.judge.log, this.time, options);
  }

  private start(harness: Harness): void {
    if (!harness.open()) {
      throw new JudgementError(harness.error ?? harness.fatal ?? "the start hangs");
    }
    this.judge.verify(harness);
    this.judge.verifyRepeats(harness, this.clients);
  }

  /** Every client asks for something; a part of it, or all, is done before the next round. */
  private round(harness: Harness): void {
    const { random } = this;
    for (const client of this.clients) this.ask(harness, client);
    this.time.now += BigInt(random.below(600_000_000));
    for (let tick = 0; tick < 11; tick += 1) harness.replica.tick();
    if (random.chance(this.options.quiet ?? 0.5)) harness.settle();
    else harness.pump(random.below(40));
    if (harness.fatal !== null) throw new JudgementError(harness.fatal);
    this.judge.takeReplies(harness, this.clients);
  }

  private ask(harness: Harness, client: TestClient): void {
    const { random } = this;
    if (client.inFlight !== null) {
      if (random.chance(0.2)) harness.deliver(client.inFlight);
    } else if (client.id === idleClient && client.session !== 0 && random.chance(0.96)) {
      if (random.chance(0.3) && client.lastRequest !== null) harness.deliver(client.lastRequest);
    } else if (client.session === 0) {
      harness.deliver(client.register());
    } else {
      const { operation, body } = this.workload.next();
      harness.deliver(client.request(operation, body));
    }
  }
}
