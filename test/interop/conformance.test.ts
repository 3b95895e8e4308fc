/**
 * The recordings, replayed through the unmodified official client against this server: each on a
 * freshly formatted data file, on both backends.
 */
import { createRequire } from "node:module";
import { afterAll, describe, expect, test } from "vitest";
import { readRecording, recordingNames, type Step } from "../conformance/recording.ts";
import {
  type ReplayClient,
  realPace,
  replay,
  sleepReally,
  TooSlowError,
} from "../conformance/replay.ts";
import { cleanUp, removeDataFile, startFresh } from "../process/server.ts";

interface OfficialClient extends ReplayClient {
  destroy(): void;
}

const official = createRequire(import.meta.url)("tigerbeetle-node") as {
  createClient(options: { cluster_id: bigint; replica_addresses: string[] }): OfficialClient;
};

afterAll(cleanUp);

/** Unchanged first. A busy machine may let a timeout of one second pass between two steps. */
const stretches = [1, 1, 1, 4, 16];
/** Without sleeps nothing ever expires, and time may be stretched at will. */
const stretchesWithoutSleep = [1, 1, 1, 1000];

async function replayOnce(
  name: string,
  steps: readonly Step[],
  backend: "uring" | "portable",
  stretch: number,
): Promise<number> {
  const { server, path } = await startFresh({ backend, development: true });
  const client = official.createClient({
    cluster_id: 0n,
    replica_addresses: [String(server.port)],
  });
  try {
    return await replay(
      name,
      steps,
      client,
      () => sleepReally(stretch),
      (error) => (error as { code?: string }).code === "ERR_TOO_MUCH_DATA",
      realPace(stretch),
    );
  } finally {
    client.destroy();
    await server.stop();
    removeDataFile(path);
  }
}

async function replayUntilFastEnough(name: string, backend: "uring" | "portable"): Promise<number> {
  const steps = recordings.get(name)!;
  const plan = withSleep.includes(name) ? stretches : stretchesWithoutSleep;
  let error: unknown;
  for (const stretch of plan) {
    try {
      return await replayOnce(name, steps, backend, stretch);
    } catch (failure) {
      if (!(failure instanceof TooSlowError)) throw failure;
      error = failure;
    }
  }
  throw error;
}

const withoutSleep: string[] = [];
const withSleep: string[] = [];
const recordings = new Map(recordingNames.map((name) => [name, readRecording(name)]));
for (const [name, steps] of recordings) {
  (steps.some(({ op }) => op === "sleep") ? withSleep : withoutSleep).push(name);
}

describe.each(["uring", "portable"] as const)("the %s backend", { timeout: 600_000 }, (backend) => {
  // Those that sleep leave the machine free for each other.
  describe.concurrent("sleeping", () => {
    test.each(withSleep)("answers recording %s", async (name) => {
      expect(await replayUntilFastEnough(name, backend)).toBe(150);
    });
  });

  test.each(withoutSleep)("answers recording %s", async (name) => {
    expect(await replayUntilFastEnough(name, backend)).toBe(150);
  });
});
