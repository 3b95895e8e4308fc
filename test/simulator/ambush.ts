/**
 * Ambushes: a fault waits until a replica writes to some zone or sends some message, and strikes then or a
 * little later. The moments that matter in a protocol are short, and faults at any time seldom meet them.
 *
 * What strikes: the replica is killed, paused, cut off from all others, or what it sends is held back, the
 * message that it was waited for included; or another one, chosen by chance, is killed; or all are.
 */
import type { Prng } from "../../src/core/prng.ts";
import { Command, frame } from "../../src/wire/header.ts";
import { Zone } from "./atlas.ts";
import type { FaultsOwner } from "./faults.ts";
import { type Place, PlaceState } from "./place.ts";
import { exponential } from "./streams.ts";
import type { FaultOptions } from "./swarm.ts";

/** Who is killed in an ambush is started again soon. Mean, microseconds. */
export const ambushDownUs = 200_000;

/** What lasts, does so for a few seconds. Mean, microseconds. */
const lastsUs = 3_000_000;

const zones = [
  Zone.superblock,
  Zone.superblock,
  Zone.headers,
  Zone.prepares,
  Zone.prepares,
  Zone.replies,
  Zone.grid,
] as const;

const commands = [
  Command.prepare,
  Command.prepareOk,
  Command.commit,
  Command.exitView,
  Command.joinView,
  Command.view,
  Command.view,
  Command.getPrepare,
  Command.reply,
] as const;

const commandNames = new Map<number, string>(
  Object.entries(Command).map(([name, number]) => [number, name]),
);

type Strike = "kill" | "pause" | "cut off" | "hold back" | "kill another" | "outage";

const strikes: readonly Strike[] = [
  "kill",
  "kill",
  "kill",
  "kill",
  "pause",
  "cut off",
  "cut off",
  "hold back",
  "kill another",
  "outage",
];

/** What `Faults` does for an ambush. */
export interface AmbushOwner {
  readonly world: FaultsOwner;
  readonly options: FaultOptions;
  readonly random: Prng;
  readonly active: boolean;
  mayStop(place: Place): boolean;
  outage(name: string, cause: string): void;
  /** The replica can be reached again. */
  onBack(place: Place): void;
  happened(name: string, place: Place | null, detail: () => string, a?: number, b?: number): void;
}

export class Ambush {
  /** The replica for which one is laid. */
  private victim: Place | null = null;

  constructor(private readonly owner: AmbushOwner) {}

  lay(place: Place): void {
    const { random, world } = this.owner;
    const delayUs = random.chance(0.3) ? 0 : random.below(place.disk.timing.writeUs * 4);
    const several = world.replicaCount > 1;
    const bySend = world.sockets === null && several && random.chance(0.5);
    const zone = zones[random.below(zones.length)]!;
    const command = commands[random.below(commands.length)]!;
    const drawn = strikes[random.below(strikes.length)]!;
    const strike = several || drawn === "pause" ? drawn : "kill";
    if (place.state !== PlaceState.up || this.victim !== null) return;
    this.victim = place;
    const { generation } = place;
    const cause = bySend ? `sending ${commandNames.get(command)}` : `writing to zone ${zone}`;
    const spring = (): void => {
      this.disarm();
      // What holds a message back must do so before it leaves.
      if (strike === "hold back") this.holdBack(place, cause);
      else
        world.callbacks.after(delayUs, () => {
          if (this.owner.active && place.generation === generation)
            this.strike(strike, place, cause);
        });
    };
    if (bySend) {
      world.network.onSend = (from, bytes) => {
        if (from === place.index && bytes[frame.at.command] === command) spring();
      };
    } else {
      place.disk.onWrite = (fileAt) => {
        if (world.atlas.areaAt(fileAt).zone === zone) spring();
      };
    }
  }

  disarm(): void {
    this.owner.world.network.onSend = null;
    if (this.victim !== null) this.victim.disk.onWrite = null;
    this.victim = null;
  }

  private strike(strike: Strike, place: Place, cause: string): void {
    if (strike === "cut off") this.cutOff(place, cause);
    else if (strike === "pause") this.pause(place, cause);
    else if (strike === "kill another") this.killAnother(place, cause);
    else if (strike === "outage") this.owner.outage("ambushes: outage", `${cause}, `);
    else this.kill(place, cause);
  }

  private kill(place: Place, cause: string): void {
    const { random, options, world } = this.owner;
    const power = random.chance(options.powerShare);
    const downUs = exponential(random, Math.min(options.downMeanUs, ambushDownUs));
    if (place.state === PlaceState.down || !this.owner.mayStop(place)) return;
    this.owner.happened("ambushes: killed", place, () => `${cause}, for ${downUs} µs`);
    world.crash(place, power, downUs);
  }

  private killAnother(place: Place, cause: string): void {
    const { random, world } = this.owner;
    const other = world.places[random.below(world.places.length)]!;
    if (other !== place) this.kill(other, `${place.name} was ${cause}`);
  }

  private pause(place: Place, cause: string): void {
    const durationUs = exponential(this.owner.random, lastsUs) + 1;
    if (place.state !== PlaceState.up || place.paused || !this.owner.mayStop(place)) return;
    this.owner.happened("ambushes: paused", place, () => `${cause}, for ${durationUs} µs`);
    place.pause(durationUs);
  }

  /** From all replicas, and from half of the clients, in both directions or in one. */
  private cutOff(place: Place, cause: string): void {
    const { random, world } = this.owner;
    const { network } = world;
    const durationUs = exponential(random, lastsUs);
    const inward = random.chance(0.8);
    const cut: [number, number][] = [];
    for (let end = 0; end < network.ends; end += 1) {
      if (end === place.index || (end >= world.places.length && random.chance(0.5))) continue;
      cut.push([place.index, end]);
      if (inward) cut.push([end, place.index]);
    }
    const fresh = cut.filter(([from, to]) => !network.isCut(from, to));
    for (const [from, to] of fresh) network.cutLink(from, to);
    this.owner.happened("ambushes: cut off", place, () => `${cause}, for ${durationUs} µs`);
    world.callbacks.after(durationUs, () => {
      for (const [from, to] of fresh) network.restoreLink(from, to);
      this.owner.onBack(place);
    });
  }

  private holdBack(place: Place, cause: string): void {
    const { random, world } = this.owner;
    const durationUs = exponential(random, lastsUs);
    for (let end = 0; end < world.places.length; end += 1) {
      if (end === place.index || random.chance(0.2)) continue;
      world.network.clog(place.index, end, world.queue.nowUs + durationUs);
    }
    this.owner.happened("ambushes: held back", place, () => `${cause}, for ${durationUs} µs`);
  }
}
