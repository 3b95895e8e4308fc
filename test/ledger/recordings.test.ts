/**
 * The state machine gives the answers that were recorded from the original, step by step, while
 * its storage delays fetches and it is restarted between steps.
 */
import { expect, test } from "vitest";
import { readRecording, recordingNames } from "../conformance/recording.ts";
import { type ReplayClient, replay, sleepMs } from "../conformance/replay.ts";
import { Harness, InvalidBody } from "./harness.ts";
import { MachineClient, replayClient } from "./machine-client.ts";

async function run(name: string, restartEvery: number): Promise<number> {
  const harness = new Harness(Number(name));
  const client = replayClient(new MachineClient(harness));
  let calls = 0;
  const restarting = Object.fromEntries(
    Object.entries(client).map(([method, call]) => [
      method,
      (input: never) => {
        harness.clock += 1_000_000n;
        calls += 1;
        if (calls % restartEvery === 0) harness.restart();
        return (call as (input: never) => Promise<object[]>)(input);
      },
    ]),
  ) as unknown as ReplayClient;
  return await replay(
    name,
    readRecording(name),
    restarting,
    async () => harness.sleep(BigInt(sleepMs) * 1_000_000n),
    (error) => error instanceof InvalidBody,
  );
}

test.each(recordingNames)("recording %s", async (name) => {
  expect(await run(name, Number.POSITIVE_INFINITY)).toBe(150);
});

test.each(recordingNames)("recording %s with restarts", async (name) => {
  expect(await run(name, 7)).toBe(150);
});
