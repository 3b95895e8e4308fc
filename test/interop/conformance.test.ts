/**
 * The recordings, replayed through the unmodified official client against this server: each on a
 * freshly formatted data file, on both backends.
 */
import { createRequire } from "node:module";
import { afterAll, describe, expect, test } from "vitest";
import { readRecording, recordingNames, type Step } from "../conformance/recording.ts";
import { type ReplayClient, replay, sleepReally, TooSlowError } from "../conformance/replay.ts";
import { cleanUp, removeDataFile, startFresh } from "../process/server.ts";

interface OfficialClient extends ReplayClient {
  destroy(): void;
}

const official = createRequire(import.meta.url)("tigerbeetle-node") as {
  createClient(options: { cluster_id: bigint; replica_addresses: string[] }): OfficialClient;
};

afterAll(cleanUp);

/** Runs on a busy machine may let a timeout of one second pass between two steps. */
const attemptsMax = 8;

async function replayOnce(name: string, steps: readonly Step[], backend: "uring" | "portable") {
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
      sleepReally,
      (error) => (error as { code?: string }).code === "ERR_TOO_MUCH_DATA",
      () => performance.now(),
    );
  } finally {
    client.destroy();
    await server.stop();
    removeDataFile(path);
  }
}

async function replayUntilFastEnough(
  name: string,
  steps: readonly Step[],
  backend: "uring" | "portable",
): Promise<number> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await replayOnce(name, steps, backend);
    } catch (error) {
      if (!(error instanceof TooSlowError) || attempt === attemptsMax) throw error;
    }
  }
}

const withoutSleep: string[] = [];
const withSleep: string[] = [];
const recordings = new Map(recordingNames.map((name) => [name, readRecording(name)]));
for (const [name, steps] of recordings) {
  (steps.some(({ op }) => op === "sleep") ? withSleep : withoutSleep).push(name);
}

describe.each(["uring", "portable"] as const)("the %s backend", (backend) => {
  // Those that sleep leave the machine free for each other.
  describe.concurrent("sleeping", () => {
    test.each(withSleep)("answers recording %s", async (name) => {
      expect(await replayUntilFastEnough(name, recordings.get(name)!, backend)).toBe(150);
    });
  });

  test.each(withoutSleep)("answers recording %s", async (name) => {
    expect(await replayUntilFastEnough(name, recordings.get(name)!, backend)).toBe(150);
  });
});
