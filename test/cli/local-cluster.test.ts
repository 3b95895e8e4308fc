/** `development --replicas`: several replicas with one command, one log, and one Ctrl-C. */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Client, createClient } from "tigerbeetle-node";
import { afterAll, afterEach, expect, test } from "vitest";
import { freePorts, until } from "../process/cluster.ts";
import { cleanUp, mainScript, pacioli, temporaryFolder } from "../process/server.ts";
import { makeAccount } from "../reference/make.ts";

const runs: Run[] = [];
afterEach(async () => {
  // What a failed test left running.
  for (const run of runs.splice(0)) {
    run.child.kill("SIGTERM");
    await run.ended;
  }
});
afterAll(cleanUp);

/** `development` for a cluster, with everything that it says. */
class Run {
  out = "";
  error = "";
  code: number | null = null;
  readonly child: ChildProcess;
  /** When its streams have closed, which its replicas hold as well. */
  readonly ended: Promise<void>;

  constructor(
    readonly replicas: number,
    readonly directory: string,
    readonly port: number,
  ) {
    const place = [`--port=${port}`, `--directory=${directory}`];
    const args = [mainScript, "development", `--replicas=${replicas}`, ...place];
    this.child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.child.stdout!.on("data", (chunk: Buffer) => {
      this.out += chunk.toString();
    });
    this.child.stderr!.on("data", (chunk: Buffer) => {
      this.error += chunk.toString();
    });
    this.ended = new Promise((resolve) =>
      this.child.on("close", (code) => {
        this.code = code;
        resolve();
      }),
    );
    runs.push(this);
  }

  until(holds: () => boolean, what: string): Promise<void> {
    return until(holds, () => `${what}; it said:\n${this.out}${this.error}`);
  }

  serving(): Promise<void> {
    return this.until(() => this.out.includes("Stop it with Ctrl-C"), "the cluster to serve");
  }

  get addresses(): string {
    return Array.from({ length: this.replicas }, (_, replica) => this.port + replica).join();
  }

  /** Of the whole cluster: the primary answers those that are connected to it. */
  client(): Client {
    return createClient({ cluster_id: 0n, replica_addresses: [this.addresses] });
  }

  /** The process of a replica: who holds its data file. */
  processOf(replica: number): number {
    const { stderr } = pacioli(["inspect", join(this.directory, `${replica}.pacioli`)]);
    const match = /is in use by process (\d+)/.exec(stderr);
    if (match === null) throw new Error(`replica ${replica} does not run: ${stderr}`);
    return Number(match[1]);
  }
}

/** Ports in a row that were free a moment ago. */
async function portsInARow(count: number): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const [first] = await freePorts(1);
    const free = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        freePorts(1, first! + index).then(
          () => true,
          () => false,
        ),
      ),
    );
    if (!free.includes(false)) return first!;
  }
  throw new Error("no free ports in a row");
}

async function launch(replicas: number, directory = join(temporaryFolder(), "made", "here")) {
  return new Run(replicas, directory, await portsInARow(replicas));
}

test("three replicas serve, say who says what, and stop with one signal", async () => {
  const run = await launch(3);
  await run.serving();
  for (let replica = 0; replica < 3; replica += 1) {
    const port = run.port + replica;
    expect(run.error).toContain(`formatted '${join(run.directory, `${replica}.pacioli`)}'`);
    expect(run.out).toMatch(
      new RegExp(`^${replica} \\| listening on 127\\.0\\.0\\.1:${port}$`, "m"),
    );
    expect(run.error).toMatch(new RegExp(`^${replica} \\| .* info +I/O backend`, "m"));
  }
  expect(run.out).toContain(`node examples/first-transfer.mjs ${run.addresses}\n`);
  const client = run.client();
  await client.createAccounts([makeAccount(1n)]);
  client.destroy();
  run.child.kill("SIGINT");
  // As npm passes the terminal's Ctrl-C on a second time.
  run.child.kill("SIGINT");
  await run.ended;
  expect(run.code, run.error).toBe(0);
  expect(run.error.match(/^\d \| .* info +stopping$/gm)).toHaveLength(3);
  for (let replica = 0; replica < 3; replica += 1) {
    expect(pacioli(["inspect", join(run.directory, `${replica}.pacioli`)]).status).toBe(0);
  }

  const again = new Run(3, run.directory, await portsInARow(3));
  await again.serving();
  expect(again.error).not.toContain("formatted");
  const second = again.client();
  expect(await second.lookupAccounts([1n])).toHaveLength(1);
  second.destroy();
  again.child.kill("SIGTERM");
  await again.ended;
  expect(again.code, again.error).toBe(0);
});

test("the others go on without one that was killed, and stop as well", async () => {
  const run = await launch(3);
  await run.serving();
  process.kill(run.processOf(1), "SIGKILL");
  await run.until(
    () => /^replica 1 has ended \(SIGKILL\)/m.test(run.error),
    "the end of replica 1",
  );
  // What is said starts it again, as it stands.
  const [, folder] = /in another terminal in '(.*)':$/m.exec(run.error)!;
  const [, restart] = /^ {2}(npm run --silent pacioli -- start .*)$/m.exec(run.error)!;
  const started = spawn("sh", ["-c", `exec ${restart!}`], {
    cwd: folder!,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const startedEnded = new Promise((resolve) => started.on("close", resolve));
  let said = "";
  started.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  await run.until(() => said.includes(`listening on 127.0.0.1:${run.port + 1}`), "its restart");
  const client = run.client();
  await client.createAccounts([makeAccount(1n)]);
  client.destroy();
  started.kill("SIGTERM");
  await startedEnded;
  run.child.kill("SIGTERM");
  await run.ended;
  expect(run.code, run.error).toBe(0);
});

test("replicas do not stay behind when the command is killed", async () => {
  const run = await launch(2);
  await run.serving();
  run.child.kill("SIGKILL");
  await run.ended;
  // What they say of it nobody hears.
  for (const file of ["0.pacioli", "1.pacioli"]) {
    const path = join(run.directory, file);
    await run.until(() => pacioli(["inspect", path]).status === 0, `the end of ${file}'s replica`);
  }
});

test("a replica that cannot start ends the others, and is named", async () => {
  const first = await launch(2);
  await first.serving();
  // The same ports, with data files of its own.
  const second = new Run(2, join(temporaryFolder(), "second"), first.port);
  await second.ended;
  expect(second.code).toBe(1);
  expect(second.error).toMatch(/^\d \| pacioli: cannot listen on 127\.0\.0\.1:\d+ \(EADDRINUSE\)/m);
  expect(second.error).toMatch(
    /^pacioli: replica \d did not start \(exit code 1\); its lines above say why\.$/m,
  );
  first.child.kill("SIGTERM");
  await first.ended;
  expect(first.code, first.error).toBe(0);
});

test("a data file that is missing is not made anew beside the others", async () => {
  const run = await launch(2);
  await run.serving();
  run.child.kill("SIGTERM");
  await run.ended;
  rmSync(join(run.directory, "1.pacioli"));
  const again = new Run(2, run.directory, run.port);
  await again.ended;
  expect(again.code).toBe(1);
  expect(again.error).toMatch(
    /^pacioli: '.*1\.pacioli' is missing, but other files of its cluster exist; delete '.*' to begin anew\.$/m,
  );
});
