/** What `serve` asks of the servers that it makes one after the other; they are made up here. */
import { beforeEach, expect, test, vi } from "vitest";
import { serve } from "../../src/cli/serve.ts";
import type { ServerEvents, ServerOptions } from "../../src/server/server.ts";

const made: { options: ServerOptions; events: ServerEvents }[] = [];

vi.mock("../../src/server/server.ts", () => ({
  Server: class {
    constructor(options: ServerOptions, events: ServerEvents) {
      made.push({ options, events });
    }
  },
}));

beforeEach(() => {
  made.length = 0;
});

const options = {
  path: "nothing.pacioli",
  addresses: [{ host: "127.0.0.1", port: 0 }],
  standbys: [],
  backend: "auto",
  directIo: true,
  grouping: true,
  development: true,
  cacheGridBytes: undefined,
} as const;

test("a server that is made after another one knows that its code is fast already", async () => {
  const terminal = { out: () => {}, error: () => {} };
  const served = serve({ ...options, drive: "owned" }, "error", terminal as never);
  // Moved to a checkpoint of the cluster, and moved again.
  made[0]!.events.onMoved();
  made[1]!.events.onMoved();
  made[2]!.events.onStopped(null);
  expect(await served).toBe(0);
  expect(made.map((server) => server.options.reopened)).toEqual([false, true, true]);
});
