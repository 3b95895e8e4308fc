/**
 * One run of a replica over a real backend and a real file, with everything that it asked of the
 * file recorded (test/io/recording-io.ts): formatting, start, requests of several clients with
 * checkpoints and several turns of the journal, end. Each reply is noted with the crash point at
 * which it was given, so that what had been acknowledged is known for a crash at any point.
 */
import { closeSync, constants, ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Prng } from "../../src/core/prng.ts";
import { Completion, type FileHandle, type Io } from "../../src/io/io.ts";
import type { Message } from "../../src/io/message-pool.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { formatDataFile } from "../../src/wal/format.ts";
import { ownRelease } from "../../src/wire/release.ts";
import { BaseImage } from "../io/crash-image.ts";
import { IoLog, RecordingIo } from "../io/recording-io.ts";
import { ReplicaHost, TestTime, tinyFormat } from "./harness.ts";
import { Judge } from "./judge.ts";
import { TestClient } from "./test-client.ts";
import { Workload } from "./workload.ts";

const accounts = 12;

/** Asks once for each of these: later its reply is nowhere but in the replies zone. */
const idleClient = 5;

export const recordedFileSize = new DataFileLayout(tinyFormat).gridAt + 24 * 1024 * 1024;

export interface Acknowledgement {
  /** The crash point that was when the reply was given. */
  readonly position: number;
  readonly op: number;
}

/** Few blocks: every crash image has all of them. */
export const recordedRuns = { cutRows: 300, blockEntriesShort: 600, blockEntriesLong: 400 };

/** A host that notes when it answers. */
class RecordedHost extends ReplicaHost {
  readonly acknowledgements: Acknowledgement[] = [];
  ioLog: IoLog | null = null;

  protected override onReply(message: Message): boolean {
    super.onReply(message);
    const { op } = this.replies.at(-1)!;
    this.acknowledgements.push({ position: this.ioLog!.position, op });
    return true;
  }
}

export interface RecordedRun {
  readonly backend: string;
  readonly log: IoLog;
  readonly file: FileHandle;
  readonly base: BaseImage;
  /** The crash point at which the file was formatted. */
  readonly formattedAt: number;
  /** In the order of their positions. */
  readonly acknowledgements: readonly Acknowledgement[];
  /** Settled to the last op. */
  readonly judge: Judge;
  /** Every request that was sent, by client and number. */
  readonly requests: ReadonlyMap<string, Uint8Array>;
  readonly opLast: number;
  readonly checkpointOpLast: number;
  readonly blocksWritten: number;
}

export interface RecordedRunOptions {
  readonly seed: number;
  /** Requests are sent until the log has so many ops. */
  readonly ops: number;
  /** Events of a request at most. */
  readonly eventsMax: number;
}

/** @param inner - Not started; it is stopped in the end. */
export async function recordRun(inner: Io, options: RecordedRunOptions): Promise<RecordedRun> {
  const directory = mkdtempSync(join(process.env["PACIOLI_TEST_DIR"] ?? tmpdir(), "pacioli-run-"));
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  const file = openSync(join(directory, "0.pacioli"), flags, 0o600);
  try {
    ftruncateSync(file, recordedFileSize);
    const recording = new Recording(inner, file, options);
    return await recording.run();
  } finally {
    await new Promise<void>((resolve) => inner.stop(resolve));
    closeSync(file);
    rmSync(directory, { recursive: true });
  }
}

class Recording {
  private readonly log = new IoLog();
  private readonly io: RecordingIo;
  private readonly random: Prng;
  private readonly time = new TestTime();
  private readonly judge = new Judge(accounts);
  private readonly host: RecordedHost;
  private readonly clients = [1, 2, 3, 4, idleClient].map((id) => new TestClient(id));
  private readonly workload: Workload;
  private readonly requests = new Map<string, Uint8Array>();
  private formattedAt = 0;
  private onTurn: () => void = () => {};
  private readonly tick: Completion;

  constructor(
    private readonly inner: Io,
    private readonly file: FileHandle,
    private readonly options: RecordedRunOptions,
  ) {
    this.random = new Prng(options.seed);
    this.workload = new Workload(options.seed, accounts, options.eventsMax);
    this.io = new RecordingIo(inner, this.log);
    this.host = new RecordedHost(this.io, file, this.judge.log, this.time, { runs: recordedRuns });
    this.host.ioLog = this.log;
    this.tick = new Completion(({ result }) => {
      if (result === 0) this.io.timeout(this.tick, 1);
    });
  }

  async run(): Promise<RecordedRun> {
    this.io.start(() => this.onTurn());
    this.io.timeout(this.tick, 1);
    await new Promise<void>((resolve, reject) => {
      formatDataFile(this.io, this.file, tinyFormat, ownRelease, (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
    this.formattedAt = this.log.position;
    await new Promise<void>((resolve) => this.host.begin(resolve));
    if (!this.host.opened) throw new Error(this.host.error ?? this.host.fatal ?? "not opened");
    await new Promise<void>((resolve, reject) => {
      this.onTurn = () => this.turn(resolve, reject);
    });
    return this.result();
  }

  /** Everything that a turn may throw ends the run. */
  private turn(resolve: () => void, reject: (error: unknown) => void): void {
    try {
      this.judge.takeReplies(this.host, this.clients);
      if (this.host.fatal !== null) throw new Error(this.host.fatal);
      const { replica } = this.host;
      const more = replica.op < this.options.ops;
      if (more) this.ask();
      else if (this.idle) {
        this.onTurn = () => {};
        resolve();
        return;
      }
      this.time.now += BigInt(this.random.below(40_000_000));
      replica.tick();
      // Turns are much shorter than the server's ticks.
      if (this.random.chance(0.1)) this.host.parts.journal.tick();
      replica.turn();
    } catch (error) {
      this.onTurn = () => {};
      reject(error);
    }
  }

  private get idle(): boolean {
    const { journal, replica, superblock } = this.host.parts;
    const answered = this.clients.every((client) => client.inFlight === null);
    return answered && replica.commitMin === replica.op && !journal.busy && !superblock.busy;
  }

  private ask(): void {
    const { random } = this;
    for (const client of this.clients) {
      if (client.inFlight !== null || random.chance(0.3)) continue;
      if (client.id === idleClient && client.session !== 0 && random.chance(0.985)) continue;
      if (client.session === 0) client.register();
      else {
        const { operation, body } = this.workload.next();
        client.request(operation, body);
      }
      this.requests.set(`${client.id}/${client.inFlightNumber}`, client.inFlight!);
      this.host.deliver(client.inFlight!);
    }
  }

  private result(): RecordedRun {
    const { host, judge } = this;
    const opLast = host.replica.commitMin;
    judge.settle(opLast);
    return {
      backend: this.inner.name,
      log: this.log,
      file: this.file,
      base: new BaseImage(recordedFileSize),
      formattedAt: this.formattedAt,
      acknowledgements: host.acknowledgements,
      judge,
      requests: this.requests,
      opLast,
      checkpointOpLast: host.parts.superblock.checkpointOp,
      blocksWritten: host.parts.storage.grid.blocksWritten,
    };
  }
}
