/** What clocks of replicas can show at a moment of a seed, whatever faults do to them. */
import type { ClockRange } from "../checkers/timestamps.ts";
import { ReplicaClock, skewUsMax } from "../clock.ts";
import type { EventQueue } from "../event-queue.ts";

/** More than any clock drifts. Parts per million. */
const driftPpmMax = 1000;

/** A clock reads nothing of its queue but the time. */
const moment = { nowUs: 0 };
const fast = new ReplicaClock(moment as unknown as EventQueue);
const slow = new ReplicaClock(moment as unknown as EventQueue);
fast.driftPpm = driftPpmMax;
fast.skewUs = skewUsMax;
slow.driftPpm = -driftPpmMax;
slow.skewUs = -skewUsMax;

const words = new Uint32Array(2);

function wallOf(clock: ReplicaClock): bigint {
  clock.wallNs(words, 0);
  return (BigInt(words[1]!) << 32n) | BigInt(words[0]!);
}

export function clockRange(nowUs: number): ClockRange {
  moment.nowUs = nowUs;
  return { min: wallOf(slow), max: wallOf(fast) };
}
