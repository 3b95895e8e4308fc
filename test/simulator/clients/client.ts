/**
 * A client that lives at one endpoint: registers, asks, waits, repeats, gives up its session when it
 * is told to, dies now and then, and begins anew under another id.
 *
 *   pause ─▶ register ─▶ answered ─▶ think ─▶ request ─▶ answered ─▶ think …
 *                │ timeout: again, later each time, to more replicas     │ evicted, or crashed
 *                ▼                                                       ▼
 *              repeat                                                  pause, a new id
 *
 * It sends to the primary of the view that it knows, learns views from replies and pongs, and when
 * nobody answers goes round the replicas.
 */
import type { Prng } from "../../../src/core/prng.ts";
import type { Checkers } from "../checkers/checkers.ts";
import type { World } from "../interfaces.ts";
import { exponential } from "../streams.ts";
import type { Workload } from "../workload/workload.ts";
import { drawRelease, type Manners, offence, stray } from "./mischief.ts";
import { ClientSession, Heard } from "./session.ts";

/** What all clients of a seed share. */
export interface Household {
  readonly world: World;
  readonly workload: Workload;
  readonly checkers: Checkers;
  readonly manners: Manners;
  readonly counts: ClientCounts;
}

export class ClientCounts {
  answered = 0;
  repeats = 0;
  echoes = 0;
  strays = 0;
  offences = 0;
  crashes = 0;
  evictions = 0;
  sessions = 0;
}

/** The interval between repetitions doubles up to this. Microseconds. */
const backoffUsMax = 8_000_000;

/** Older requests that an echo may repeat. */
const rememberedMax = 6;

/** For the running digest. */
const digestSent = 1;
const digestHeard = 2;

export class Client {
  private session: ClientSession | null = null;
  private repeats = 0;
  /** Timers of before are void: each carries the number that was current when it was set. */
  private timer = 0;
  /** The reason for which it has to be evicted, or 0. */
  private evictionDue = 0;
  private remembered: Uint8Array[] = [];
  private viewKnown = 0;

  constructor(
    readonly endpoint: number,
    private readonly house: Household,
    private readonly random: Prng,
  ) {}

  start(): void {
    this.pause(this.house.world.options.retryUs);
    this.pingLater();
  }

  private get name(): string {
    return `c${this.endpoint}`;
  }

  /** After at most so long, begins a session. */
  private pause(mostUs: number): void {
    this.afterDelay(this.random.below(mostUs + 1), () => this.register());
  }

  private afterDelay(delayUs: number, callback: () => void): void {
    this.timer += 1;
    const mine = this.timer;
    this.house.world.after(delayUs, () => {
      if (mine === this.timer) callback();
    });
  }

  // ── Asking ───────────────────────────────────────────────────────────────────────────────────

  private register(): void {
    const { world, manners, counts } = this.house;
    if (world.enough) return;
    const { random } = this;
    const id = new Uint32Array([random.u32(), random.u32(), random.u32(), random.u32() | 1]);
    const view = random.chance(0.5) ? this.viewKnown : 0;
    this.session = new ClientSession(id, world.cluster, drawRelease(random), view);
    this.remembered = [];
    counts.sessions += 1;
    this.pingAll();
    if (random.chance(manners.offenceShare)) this.offend(this.session);
    else this.send(this.session.register(), "register");
  }

  private next(): void {
    const { world, workload, manners } = this.house;
    const { session, random } = this;
    if (world.enough || session === null) return;
    if (random.chance(manners.strayShare)) this.sendStray();
    if (random.chance(manners.offenceShare)) {
      this.offend(session);
      return;
    }
    const { operation, body } = workload.next(session.bodySizeMax);
    this.send(session.begin(operation, body), `request of operation ${operation}`);
  }

  /** Sends a request for the first time. */
  private send(request: Uint8Array, what: string): void {
    const { world, checkers, manners, counts } = this.house;
    checkers.replies.onSent(request, world.nowUs);
    this.begin(request, what);
    if (!this.random.chance(manners.crashShare)) return;
    // Before the answer can have come, or after having waited for it in vain.
    const soon = this.random.chance(0.5);
    const within = this.random.below(soon ? 2000 : 2 * world.options.retryUs);
    const { session } = this;
    world.after(within, () => {
      if (this.session !== session || session?.inFlight?.bytes !== request || world.enough) return;
      counts.crashes += 1;
      this.end("crash");
    });
  }

  private begin(request: Uint8Array, what: string): void {
    const { world, checkers } = this.house;
    const number = this.session!.inFlight?.request ?? 0;
    world.note(this.name, "send", () => `${this.session!.name.slice(0, 8)}/${number} ${what}`);
    checkers.liveness.began(this.endpoint, what, world.nowUs);
    this.repeats = 0;
    this.transmit(request);
  }

  /** Sends what waits for an answer, and sets the timer for the next time. */
  private transmit(request: Uint8Array): void {
    const { world, manners } = this.house;
    const { random, repeats } = this;
    const { replicaCount } = world;
    const primary = this.session!.view % replicaCount;
    if (repeats >= 4) {
      for (let replica = 0; replica < replicaCount; replica += 1) this.sendTo(replica, request);
    } else {
      this.sendTo(primary, request);
      if (replicaCount > 1 && (manners.hedges || repeats >= 2)) {
        this.sendTo((primary + random.range(1, replicaCount - 1)) % replicaCount, request);
      }
    }
    const doubled = Math.min(world.options.retryUs * 2 ** Math.min(repeats, 10), backoffUsMax);
    this.afterDelay(doubled + random.below(doubled + 1), () => this.repeat(request));
  }

  private repeat(request: Uint8Array): void {
    const { checkers, counts, world } = this.house;
    checkers.liveness.check(world.nowUs);
    counts.repeats += 1;
    this.repeats += 1;
    this.transmit(request);
  }

  private sendTo(replica: number, message: Uint8Array): void {
    const { world } = this.house;
    world.digest(digestSent, this.endpoint, replica, message[0]! + 256 * message[1]!);
    world.sendToReplica(this.endpoint, replica, message);
  }

  private pingAll(): void {
    const { session } = this;
    if (session === null) return;
    const { world } = this.house;
    const ping = session.ping(world.nowUs);
    for (let replica = 0; replica < world.replicaTotal; replica += 1) this.sendTo(replica, ping);
  }

  private pingLater(): void {
    const { world, manners } = this.house;
    world.after(this.random.range(manners.pingUs >>> 1, manners.pingUs), () => {
      if (world.enough && this.session?.inFlight === null) return;
      this.pingAll();
      this.pingLater();
    });
  }

  // ── Misbehaving ──────────────────────────────────────────────────────────────────────────────

  private sendStray(): void {
    const message = stray(this.session!, this.random);
    if (message === null) return;
    this.house.counts.strays += 1;
    this.sendTo(this.random.below(this.house.world.replicaCount), message);
  }

  /** A request that must get the session evicted, and is repeated until it is. */
  private offend(session: ClientSession): void {
    const { request, reason } = offence(session, this.random);
    this.house.counts.offences += 1;
    this.evictionDue = reason;
    this.begin(request, `offence for reason ${reason}`);
  }

  /** Sends something again that was sent long ago, as networks do. */
  private echo(): void {
    const { remembered, random } = this;
    if (remembered.length === 0) return;
    this.house.counts.echoes += 1;
    const message = remembered[random.below(remembered.length)]!;
    this.sendTo(random.below(this.house.world.replicaCount), message);
  }

  private remember(request: Uint8Array): void {
    // The registration stays: repeated late, it may begin a session that nobody uses.
    if (this.remembered.length === rememberedMax) this.remembered.splice(1, 1);
    this.remembered.push(request);
  }

  // ── Hearing ──────────────────────────────────────────────────────────────────────────────────

  onMessage(replica: number, message: Uint8Array): void {
    const { session } = this;
    const { world } = this.house;
    world.digest(digestHeard, this.endpoint, replica, message[0]! + 256 * message[1]!);
    if (session === null) return;
    const request = session.inFlight?.bytes ?? null;
    const heard = session.hear(message);
    this.viewKnown = Math.max(this.viewKnown, session.view);
    if (typeof heard === "string") {
      world.fail(`replica ${replica} sent to client ${session.name} ${heard}`);
    }
    if (heard === Heard.answered) this.onAnswer(request!);
    else if (heard === Heard.evicted) this.onEviction(session);
  }

  private onAnswer(request: Uint8Array): void {
    const { world, manners, checkers, counts } = this.house;
    const { random } = this;
    counts.answered += 1;
    checkers.liveness.ended(this.endpoint, world.nowUs);
    this.remember(request);
    if (random.chance(manners.echoShare)) this.echo();
    this.afterDelay(this.thinkUs(), () => this.next());
  }

  private thinkUs(): number {
    const { world, manners } = this.house;
    const { burst, thinkUs } = world.options;
    const pause = this.random.chance(burst) ? 0 : exponential(this.random, thinkUs);
    if (manners.beatUs === 0) return pause;
    const off = (world.nowUs + pause) % manners.beatUs;
    return off === 0 ? pause : pause + manners.beatUs - off;
  }

  private onEviction(session: ClientSession): void {
    const { world, checkers, counts } = this.house;
    const { evictedFor } = session;
    if (evictedFor === 1) {
      if (session.session === 0) world.fail(`client ${session.name} was evicted while registering`);
      if (checkers.sessions.has(session.name, session.session)) {
        world.fail(`client ${session.name} was told that session ${session.session} is gone`);
      }
    } else if (evictedFor === 7) {
      // Its own registration, repeated after the session was gone, has begun another.
      if (checkers.sessions.has(session.name, session.session)) {
        world.fail(`client ${session.name} was told that session ${session.session} is old`);
      }
    } else if (evictedFor !== this.evictionDue) {
      const due = this.evictionDue;
      world.fail(`client ${session.name} was evicted for reason ${evictedFor}, not ${due}`);
    }
    counts.evictions += 1;
    this.end(`evicted for reason ${evictedFor}`);
  }

  /** The session is no more; another follows. */
  private end(why: string): void {
    const { world, checkers } = this.house;
    world.note(this.name, "end", () => `${this.session!.name.slice(0, 8)} ${why}`);
    checkers.liveness.ended(this.endpoint, world.nowUs);
    this.session = null;
    this.evictionDue = 0;
    this.pause(4 * world.options.thinkUs + world.options.retryUs);
  }

  /** The connection was cut: it is made again, with a ping, so that replies find their way. */
  onDisconnect(replica: number): void {
    const { world } = this.house;
    const { session } = this;
    world.after(this.random.range(50, 500) * 1000, () => {
      if (this.session !== session || session === null) return;
      this.sendTo(replica, session.ping(world.nowUs));
    });
  }
}
