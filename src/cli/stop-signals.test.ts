import { afterEach, beforeEach, expect, test, vi } from "vitest";

beforeEach(() => {
  vi.resetModules();
  vi.useFakeTimers();
});

afterEach(() => {
  vi.doUnmock("./parent.ts");
  vi.unstubAllEnvs();
  vi.useRealTimers();
});

/** What a server is told whose parent was `parent` when it started. */
async function told(parent: number, startedByNpm: boolean): Promise<string[]> {
  vi.stubEnv("npm_lifecycle_event", startedByNpm ? "start" : undefined);
  vi.doMock("./parent.ts", () => ({ parentAtStart: parent }));
  const { watchForStop } = await import("./stop-signals.ts");
  const texts: string[] = [];
  const end = watchForStop({ stop: (text) => texts.push(text), abort: () => texts.push("abort") });
  vi.advanceTimersByTime(5000);
  end();
  return texts;
}

const gone = process.ppid + 1;

test("a server whose npm ended before it looked stops as well, once", async () => {
  expect(await told(gone, true)).toEqual(["stopping, since npm has ended"]);
});

test("a server whose npm is there goes on", async () => {
  expect(await told(process.ppid, true)).toEqual([]);
});

test("a server that npm did not start outlives what started it", async () => {
  expect(await told(gone, false)).toEqual([]);
});
