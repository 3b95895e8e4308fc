/**
 * Load, kill -9, restart, compare; again and again on one data file. Several sessions keep one
 * request each in flight. What was in flight when the server died is sent again, byte for byte, on
 * its session: so every request's fate and timestamp become known, and the judge can demand that
 * the state is exactly that of all answered requests, each executed once.
 */
import { join } from "node:path";
import { Prng } from "../../src/core/prng.ts";
import { EvictedError, NoReplyError, RawConnection, RawSession } from "../interop/raw-client.ts";
import { Judge } from "./judge.ts";
import { format, ServerProcess, type StartOptions, temporaryFolder } from "./server.ts";
import { type LoadRequest, Workload } from "./workload.ts";

export interface CrashOptions {
  readonly seed: number;
  readonly cycles: number;
  readonly sessions: number;
  readonly backends: readonly ("uring" | "portable")[];
}

export interface CrashSummary {
  readonly kills: number;
  readonly killsDuringStart: number;
  readonly cleanStops: number;
  readonly requests: number;
  readonly resent: number;
  readonly expired: number;
  readonly ops: number;
}

/** No reply for so long and the request is sent again. */
const resendAfterMs = 1000;
const finishLimitMs = 60_000;

class LoadSession {
  private inFlight: { request: LoadRequest; message: Uint8Array; sent: number } | null = null;
  resent = 0;

  constructor(
    private readonly raw: RawSession,
    private readonly workload: Workload,
    private readonly judge: Judge,
  ) {}

  async connect(port: number): Promise<void> {
    this.raw.close();
    this.raw.connection = await RawConnection.open(port);
  }

  /** Sends requests until told to stop, or until the connection breaks. */
  async load(phase: { stop: boolean }): Promise<void> {
    while (!phase.stop && !this.raw.connection.isClosed) {
      if (this.inFlight === null) {
        const request = this.workload.next();
        const message = this.raw.build(request.operation, request.body);
        this.inFlight = { request, message, sent: 0 };
      }
      await this.attempt();
    }
  }

  /** Brings the request in flight to its end. */
  async finish(): Promise<void> {
    const deadline = performance.now() + finishLimitMs;
    while (this.inFlight !== null) {
      if (performance.now() > deadline) throw new Error("a request is never answered");
      if (this.raw.connection.isClosed) throw new Error("the server closed a connection");
      await this.attempt();
    }
  }

  private async attempt(): Promise<void> {
    const flight = this.inFlight!;
    flight.sent += 1;
    try {
      const reply = await this.raw.roundTrip(flight.message, resendAfterMs);
      this.inFlight = null;
      if (flight.sent > 1) this.resent += 1;
      const { operation, body } = flight.request;
      this.judge.add({ operation, body, reply: reply.slice(), resent: flight.sent > 1 });
    } catch (error) {
      if (!(error instanceof NoReplyError)) throw error;
    }
  }
}

export async function crashRun(options: CrashOptions): Promise<CrashSummary> {
  const random = new Prng(options.seed);
  const path = join(temporaryFolder(), "0.pacioli");
  format(path, { development: true });
  const judge = new Judge();
  const workload = new Workload(new Prng(options.seed + 1));
  const startOptions = (): StartOptions => ({
    backend: options.backends[random.below(options.backends.length)]!,
    development: true,
  });

  let server = await ServerProcess.start(path, startOptions());
  const checker = await RawSession.register(server.port);
  const sessions: LoadSession[] = [];
  for (let i = 0; i < options.sessions; i += 1) {
    sessions.push(new LoadSession(await RawSession.register(server.port), workload, judge));
  }

  const counts = { kills: 0, killsDuringStart: 0, cleanStops: 0 };
  try {
    for (let cycle = 0; cycle < options.cycles; cycle += 1) {
      const phase = { stop: false };
      const load = Promise.all(sessions.map((session) => session.load(phase)));
      // A failure inside the load must not pass unheard while this waits.
      await Promise.race([pause(random.range(5, 400)), load.then(() => pause(1000))]);
      if (random.chance(0.15)) {
        await server.stop();
        counts.cleanStops += 1;
      } else {
        await server.kill();
        counts.kills += 1;
      }
      phase.stop = true;
      await load;

      while (random.chance(0.25)) {
        const dying = ServerProcess.spawn(path, startOptions());
        await pause(random.range(50, 500));
        if (dying.alive) {
          await dying.kill();
          counts.killsDuringStart += 1;
        } else {
          dying.assertAlive();
        }
      }
      server = await ServerProcess.start(path, startOptions());
      for (const session of sessions) await session.connect(server.port);
      await Promise.all(sessions.map((session) => session.finish()));
      checker.connection = await RawConnection.open(server.port);
      await judge.verify(checker, cycle === options.cycles - 1);
    }
    server.assertAlive();
    await server.stop();
  } catch (error) {
    const reason = error instanceof EvictedError ? `${error.message}` : (error as Error).stack;
    throw new Error(`seed ${options.seed}: ${reason}\nserver:\n${server.log}`);
  }
  return {
    ...counts,
    requests: judge.judged,
    resent: sessions.reduce((sum, session) => sum + session.resent, 0),
    expired: judge.expired,
    ops: Number(judge.opsSeen),
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
