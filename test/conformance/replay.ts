/**
 * Replays a recording through any client with the official API and compares step by step. The
 * first difference is an error that names the step, its input and both answers.
 *
 * Recordings hold pending transfers with timeouts, and between two `sleep` steps none of them may
 * expire. So the run itself does little: inputs are made ready before it, answers are compared
 * after it. A difference at a step that was reached only after something had expired proves
 * nothing: it is a `TooSlowError`, and the caller may run the recording again; on a machine that
 * stays too slow, with a `stretch` of time: timeouts and sleeps longer by one factor, which changes
 * no answer but the timeouts in it, and those are taken back before the comparison.
 */
import {
  type Account,
  type AccountBalance,
  type AccountFilter,
  type CreateResult,
  created,
  type QueryFilter,
  type Transfer,
} from "../reference/records.ts";
import { canonical, resolveInput, type Step, TimestampNames } from "./recording.ts";

export interface ReplayClient {
  createAccounts(batch: Account[]): Promise<CreateResult[]>;
  createTransfers(batch: Transfer[]): Promise<CreateResult[]>;
  lookupAccounts(batch: bigint[]): Promise<Account[]>;
  lookupTransfers(batch: bigint[]): Promise<Transfer[]>;
  getAccountTransfers(filter: AccountFilter): Promise<Transfer[]>;
  getAccountBalances(filter: AccountFilter): Promise<AccountBalance[]>;
  queryAccounts(filter: QueryFilter): Promise<Account[]>;
  queryTransfers(filter: QueryFilter): Promise<Transfer[]>;
}

/** Length of a `sleep` step: what was pending with a timeout of up to 3 s has expired after it. */
export const sleepMs = 3500;

const methods: readonly (keyof ReplayClient)[] = [
  "createAccounts",
  "createTransfers",
  "lookupAccounts",
  "lookupTransfers",
  "getAccountTransfers",
  "getAccountBalances",
  "queryAccounts",
  "queryTransfers",
];

export class ConformanceError extends Error {
  override name = "ConformanceError";
}

export class TooSlowError extends Error {
  override name = "TooSlowError";
}

/** Timeouts from here on never expire within a run, and are not stretched. Seconds. */
const timeoutNever = 10_000;

interface Pace {
  /** The clock that the server's timeouts follow. */
  readonly nowMs: () => number;
  readonly stretch: number;
}

/** For a clock that the caller controls and that stands still between sleeps. */
const still: Pace = { nowMs: () => 0, stretch: 1 };

/** The pace of a real server. */
export function realPace(stretch: number): Pace {
  return { nowMs: () => performance.now(), stretch };
}

/** Waits as long as a `sleep` step says. */
export function sleepReally(stretch: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, sleepMs * stretch));
}

type Answer = readonly object[] | "refused";

/**
 * @param sleep - Lets `sleepMs` pass.
 * @param tooMuchData - Recognises the error of a call that the client itself refused; any other
 *   error ends the replay, so that a lost connection is not taken for a refusal.
 * @returns How many steps were compared.
 */
export async function replay(
  name: string,
  steps: readonly Step[],
  client: ReplayClient,
  sleep: () => Promise<void>,
  tooMuchData: (error: unknown) => boolean,
  { nowMs, stretch }: Pace = still,
): Promise<number> {
  const names = new TimestampNames();
  const ready = steps.map((step) =>
    refersToNames(step) ? null : { input: resolveInput(step.input, names) },
  );
  const answers: (Answer | null)[] = [];
  const expiries = new Expiries();
  /** The first step that something may have expired before. */
  let slowFrom = Number.POSITIVE_INFINITY;

  for (const [index, step] of steps.entries()) {
    if (step.op === "sleep") {
      await sleep();
      expiries.slept(nowMs());
      answers.push(null);
      continue;
    }
    const recorded = ready[index]?.input ?? resolveInput(step.input, names);
    const input = step.op === "createTransfers" ? withTimeouts(recorded, stretch) : recorded;
    const sentAt = nowMs();
    const answer = withTimeouts(await callClient(client, step.op, input, tooMuchData), 1 / stretch);
    if (nowMs() >= expiries.earliest) slowFrom = Math.min(slowFrom, index);
    if (step.op === "createTransfers") expiries.add(input as Transfer[], answer, sentAt);
    nameTimestamps(answer, names);
    answers.push(answer);
    if ((answer === "refused") === Array.isArray(step.result)) break; // Names would go astray.
  }

  const difference = firstDifference(name, steps, answers);
  if (difference === null) return steps.length;
  if (difference.index >= slowFrom) throw new TooSlowError(difference.text);
  throw new ConformanceError(difference.text);
}

/** The objects with their timeouts multiplied. */
function withTimeouts<T>(objects: T, factor: number): T {
  if (factor === 1 || !Array.isArray(objects)) return objects;
  const limit = factor > 1 ? timeoutNever : timeoutNever / factor;
  return objects.map((object: { timeout?: number }) => {
    const { timeout } = object;
    if (timeout === undefined || timeout === 0 || timeout >= limit) return object;
    return { ...object, timeout: Math.round(timeout * factor) };
  }) as T;
}

/** When pending transfers may begin to expire. */
class Expiries {
  private times: number[] = [];

  get earliest(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.times);
  }

  add(events: readonly Transfer[], answer: Answer, sentAt: number): void {
    if (answer === "refused") return;
    for (const [i, { timeout }] of events.entries()) {
      const { status } = answer[i] as CreateResult;
      if (timeout !== 0 && status === created) this.times.push(sentAt + timeout * 1000);
    }
  }

  /** The recording, too, had everything expired that expires within a sleep. */
  slept(nowMs: number): void {
    this.times = this.times.filter((time) => time > nowMs);
  }
}

function refersToNames(step: Step): boolean {
  const { timestamp_min, timestamp_max } = (step.input ?? {}) as Record<string, unknown>;
  return [timestamp_min, timestamp_max].some((text) => String(text).startsWith("t"));
}

async function callClient(
  client: ReplayClient,
  op: string,
  input: unknown,
  tooMuchData: (error: unknown) => boolean,
): Promise<Answer> {
  const method = methods.find((known) => known === op);
  if (method === undefined) throw new ConformanceError(`unknown op ${op}`);
  const call = client[method] as (input: unknown) => Promise<object[]>;
  try {
    return await call.call(client, input);
  } catch (error) {
    if (!tooMuchData(error)) throw error;
    return "refused";
  }
}

function nameTimestamps(answer: Answer, names: TimestampNames): void {
  if (answer === "refused") return;
  for (const object of answer) names.nameOf((object as { timestamp: bigint }).timestamp);
}

function firstDifference(
  name: string,
  steps: readonly Step[],
  answers: readonly (Answer | null)[],
): { index: number; text: string } | null {
  const names = new TimestampNames();
  for (const [index, answer] of answers.entries()) {
    if (answer === null) continue;
    const step = steps[index]!;
    const expected = Array.isArray(step.result) ? step.result : "refused";
    const actual = answer === "refused" ? answer : canonical(answer, names);
    const text = differenceOf(expected, actual, step.input);
    if (text !== null) {
      return { index, text: `recording ${name}, step ${step.step}, ${step.op}: ${text}` };
    }
  }
  return null;
}

function differenceOf(expected: unknown, actual: unknown, input: unknown): string | null {
  if (!Array.isArray(expected) || !Array.isArray(actual)) {
    if (expected === actual) return null;
    return `expected ${show(expected)}, got ${show(actual)}; input ${show(input)}`;
  }
  for (let i = 0; i < Math.max(expected.length, actual.length); i += 1) {
    if (sameFields(expected[i], actual[i])) continue;
    const event = Array.isArray(input) ? `event ${show(input[i])}` : `input ${show(input)}`;
    return (
      `element ${i} of ${expected.length} (got ${actual.length}): ` +
      `expected ${show(expected[i])}, got ${show(actual[i])}; ${event}`
    );
  }
  return null;
}

/** Equal values under equal names, whatever the order of the fields. */
function sameFields(expected: object | undefined, actual: object | undefined): boolean {
  if (expected === undefined || actual === undefined) return expected === actual;
  const a = Object.entries(expected);
  const b = new Map<string, unknown>(Object.entries(actual));
  return a.length === b.size && a.every(([key, value]) => b.get(key) === value);
}

function show(value: unknown): string {
  const text = JSON.stringify(value, (_key, field) =>
    typeof field === "bigint" ? field.toString() : field,
  );
  return text === undefined ? "nothing" : text.slice(0, 600);
}
