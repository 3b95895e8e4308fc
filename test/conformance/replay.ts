/**
 * Replays a recording through any client with the official API and compares step by step. The
 * first difference ends the run with an error that names the step, its input and both answers.
 */
import type {
  Account,
  AccountBalance,
  AccountFilter,
  CreateResult,
  QueryFilter,
  Transfer,
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
): Promise<number> {
  const names = new TimestampNames();
  for (const step of steps) {
    if (step.op === "sleep") {
      await sleep();
      continue;
    }
    const method = methods.find((known) => known === step.op);
    if (method === undefined) throw new ConformanceError(`unknown op ${step.op}`);
    const input = resolveInput(step.input, names);
    let actual: unknown;
    try {
      const call = client[method] as (input: unknown) => Promise<object[]>;
      actual = canonical(await call.call(client, input), names);
    } catch (error) {
      if (!tooMuchData(error)) throw error;
      actual = "refused";
    }
    const expected = Array.isArray(step.result) ? step.result : "refused";
    compare(name, step, input, expected, actual);
  }
  return steps.length;
}

function compare(
  name: string,
  step: Step,
  input: unknown,
  expected: unknown,
  actual: unknown,
): void {
  const where = `recording ${name}, step ${step.step}, ${step.op}`;
  if (!Array.isArray(expected) || !Array.isArray(actual)) {
    if (expected === actual) return;
    throw new ConformanceError(
      `${where}: expected ${show(expected)}, got ${show(actual)}; input ${show(input)}`,
    );
  }
  for (let i = 0; i < Math.max(expected.length, actual.length); i += 1) {
    if (sameFields(expected[i], actual[i])) continue;
    const event = Array.isArray(input) ? `event ${show(input[i])}` : `input ${show(input)}`;
    throw new ConformanceError(
      `${where}, element ${i} of ${expected.length} (got ${actual.length}): ` +
        `expected ${show(expected[i])}, got ${show(actual[i])}; ${event}`,
    );
  }
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
