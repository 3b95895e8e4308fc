/**
 * A server stopped at any moment, or failing at any write, ends: it says so once, starts nothing
 * afterwards, and its tick is not armed again once the end has begun.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Connection } from "../../src/io/connection.ts";
import type { Completion, FileHandle, Io, IoBuffer } from "../../src/io/io.ts";
import { formatFile } from "../../src/server/format-file.ts";
import { Server } from "../../src/server/server.ts";
import { tinyFormat } from "./harness.ts";
import { TestClient } from "./test-client.ts";

/** What a backend that is being watched tells. */
interface Watch {
  /** File operations and timeouts started so far. */
  started: number;
  /** Called before each. */
  onStart: (kind: "file" | "timeout", completion: Completion) => void;
  /** Write, counted from 1, that fails; and counted from when the server listens. */
  failingWrite: number;
  failingWriteServing: number;
  writes: number;
}

const watch: Watch = vi.hoisted(() => ({
  started: 0,
  onStart: () => {},
  failingWrite: 0,
  failingWriteServing: 0,
  writes: 0,
}));

vi.mock("../../src/io/open-io.ts", async (importOriginal) => {
  const { openIo } = await importOriginal<typeof import("../../src/io/open-io.ts")>();
  return {
    openIo: (options: Parameters<typeof openIo>[0]) => {
      const { io, note } = openIo(options);
      watchIo(io);
      return { io, note };
    },
  };
});

function watchIo(io: Io): void {
  const { read, write, sync, timeout } = io;
  const start = (kind: "file" | "timeout", completion: Completion): void => {
    watch.started += 1;
    watch.onStart(kind, completion);
  };
  io.read = (completion, ...rest) => {
    start("file", completion);
    read.call(io, completion, ...rest);
  };
  io.write = (completion: Completion, file: FileHandle, ...rest: WriteRest) => {
    start("file", completion);
    watch.writes += 1;
    // A descriptor that is none: the write fails, as a disk's might.
    const handle = watch.writes === watch.failingWrite ? -1 : file;
    write.call(io, completion, handle, ...rest);
  };
  io.sync = (completion, file) => {
    start("file", completion);
    sync.call(io, completion, file);
  };
  io.timeout = (completion, milliseconds) => {
    start("timeout", completion);
    timeout.call(io, completion, milliseconds);
  };
}

type WriteRest = [IoBuffer, number, number, number, boolean];

const directory = mkdtempSync(join(tmpdir(), "pacioli-stop-"));
const path = join(directory, "0.pacioli");

beforeAll(async () => {
  const error = await new Promise<string | null>((resolve) => {
    const options = { path, replica: 0, replicaCount: 1, development: true, directIo: false };
    formatFile({ ...options, cluster: tinyFormat.cluster, clientsMax: 2 }, resolve);
  });
  expect(error).toBeNull();
});

afterAll(() => rmSync(directory, { recursive: true }));

let nextClient = 0;

interface Life {
  listened: boolean;
  readonly errors: (string | null)[];
  /** Ticks armed when the end had begun. */
  late: number;
}

/** As from a socket; the reply goes nowhere. */
function deliver(server: Server, request: Uint8Array): void {
  const parts = server["parts"];
  if (parts === null) return;
  const message = parts.pool.get(request.length)!;
  message.bytes.set(request);
  parts.replica.onMessage(message, null as unknown as Connection);
  parts.pool.unref(message);
}

/**
 * Starts a server, which gets a request when it listens; `onStart` may stop it. Ends some turns
 * after it said that it had.
 */
async function live(
  backend: "auto" | "portable",
  onStart: (server: Server, started: number) => void,
): Promise<Life> {
  const life: Life = { listened: false, errors: [], late: 0 };
  watch.started = 0;
  watch.writes = 0;
  let ended = false;
  await new Promise<void>((resolve) => {
    let server: Server | null = null;
    watch.onStart = (_kind, completion) => {
      if (server === null) return;
      if (ended) throw new Error("a stopped server starts an operation");
      if (server["stopping"] && completion === server["tickCompletion"]) life.late += 1;
      onStart(server, watch.started);
    };
    server = new Server(
      {
        path,
        addresses: [{ host: "127.0.0.1", port: 0 }],
        standbys: [],
        backend,
        drive: "guest",
        directIo: false,
        grouping: true,
        development: true,
        cacheGridBytes: undefined,
      },
      {
        onLog: () => {},
        onMoved: () => {},
        onListening: () => {
          life.listened = true;
          if (watch.failingWriteServing > 0) {
            watch.failingWrite = watch.writes + watch.failingWriteServing;
          }
          nextClient += 1; // One that is new: a repeated request writes nothing.
          deliver(server!, new TestClient(nextClient).register());
        },
        onStopped: (error) => {
          ended = true;
          life.errors.push(error);
          setTimeout(resolve, 30);
        },
      },
    );
  });
  return life;
}

describe.each(["portable", "auto"] as const)("on the %s backend", (backend) => {
  test("a server that is stopped at any operation ends without an error", async () => {
    let at = 1;
    for (let listened = 0; listened < 8; ) {
      at += listened === 0 ? 7 : 1;
      const life = await live(backend, (server, started) => {
        if (started >= at) server.stop();
      });
      expect(life.errors).toEqual([null]);
      expect(life.late).toBe(0);
      if (life.listened) listened += 1;
    }
    expect(at).toBeGreaterThan(70);
  });

  test("a server whose write fails ends with an error", async () => {
    const start = async (): Promise<boolean> => {
      const life = await live(backend, () => {});
      expect(life.errors).toHaveLength(1);
      expect(life.errors[0]).toMatch(/^cannot (write|restore) .*error/);
      expect(life.late).toBe(0);
      return life.listened;
    };
    // While it starts: at least the four copies of the superblock are written.
    watch.failingWriteServing = 0;
    for (watch.failingWrite = 1; watch.failingWrite <= 4; watch.failingWrite += 1) {
      expect(await start()).toBe(false);
    }
    // While it serves: a prepare, and its header.
    watch.failingWrite = 0;
    for (watch.failingWriteServing = 1; watch.failingWriteServing <= 2; ) {
      expect(await start()).toBe(true);
      watch.failingWriteServing += 1;
    }
    watch.failingWriteServing = 0;
    watch.failingWrite = 0;
  });
});
