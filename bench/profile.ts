/**
 * Where a server's time goes: runs one under a profiler while `pacioli benchmark` loads it, and
 * prints the shares of the layers and the functions with the most self time. `cpu-prof` is V8's own
 * profiler, which sees JavaScript alone: waiting and other native code count as the function that
 * called it. `perf` sees the kernel and the addon as well, and counts CPU time only. `gc` counts
 * V8's collections and the bytes that were allocated between them. What `perf` and `gc` look at
 * comes after a load half as large, in which V8 compiles what is hot.
 *
 * Usage: node scripts/bench.mjs profile [--with=cpu-prof|perf|gc] [--batch=8189] [--clients=1]
 *          [--transfers=3000000] [--top=15]
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatTable } from "../src/cli/output.ts";
import { mainScript } from "../src/cli/paths.ts";

const { values } = parseArgs({
  options: {
    with: { type: "string", default: "cpu-prof" },
    batch: { type: "string", default: "8189" },
    clients: { type: "string", default: "1" },
    transfers: { type: "string", default: "3000000" },
    top: { type: "string", default: "15" },
  },
});
const usesPerf = values.with === "perf";
const usesGc = values.with === "gc";

/** Self time of one function, in any unit. */
interface Share {
  readonly layer: string;
  readonly name: string;
  weight: number;
}

/** `src/ledger` for a compiled file of the ledger's. */
function layerOf(path: string): string {
  const match = /\/dist\/([a-z]+)\//.exec(path);
  return match === null ? "Node.js and V8" : `src/${match[1]}`;
}

function nameOf(functionName: string, path: string): string {
  const match = /\/dist\/(.*?)\.js(?::[0-9]+)*$/.exec(path);
  return match === null ? functionName : `${functionName} (${match[1]}.ts)`;
}

/** Samples of V8's profiler but for those in which libuv waited. The ring waits inside `turn`. */
function readCpuProfile(path: string): Share[] {
  interface Node {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string };
  }
  const profile = JSON.parse(readFileSync(path, "utf8")) as {
    readonly nodes: readonly Node[];
    readonly samples: readonly number[];
    readonly timeDeltas: readonly number[];
  };
  const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
  return profile.samples.map((id, index) => {
    const { functionName, url } = nodes.get(id)!;
    return {
      layer: layerOf(url),
      name: nameOf(functionName || "(anonymous)", url),
      weight: functionName === "(idle)" ? 0 : profile.timeDeltas[index]!,
    };
  });
}

/** Lines of `perf report`: percent, object, symbol. */
function readPerfReport(text: string): Share[] {
  const shares: Share[] = [];
  for (const line of text.split("\n")) {
    const [percent, object, symbol] = line.split("\t").map((field) => field.trim());
    const weight = Number.parseFloat(percent ?? "");
    if (object === undefined || symbol === undefined || Number.isNaN(weight)) continue;
    const script = /^\[.\] JS:[*^~+]?(\S*) (\S+)$/.exec(symbol);
    if (script !== null) {
      const path = script[2]!;
      shares.push({ layer: layerOf(path), name: nameOf(script[1] || "(anonymous)", path), weight });
      continue;
    }
    const name = symbol.replace(/^\[.\] /, "");
    shares.push({ layer: layerOfObject(object), name, weight });
  }
  return shares;
}

function layerOfObject(object: string): string {
  if (object.includes("kernel") || object.includes("vdso")) return "kernel";
  if (object.includes("pacioli.node")) return "native";
  return "Node.js and V8";
}

function print(shares: readonly Share[], top: number): void {
  const all = shares.reduce((sum, { weight }) => sum + weight, 0);
  const percent = (weight: number): string => `${((weight / all) * 100).toFixed(1)} %`;
  const table = (head: readonly string[], key: (share: Share) => string, count: number): void => {
    const sums = new Map<string, Share>();
    for (const share of shares) {
      const sum = sums.get(key(share));
      if (sum === undefined) sums.set(key(share), { ...share });
      else sum.weight += share.weight;
    }
    const sorted = [...sums.values()].sort((a, b) => b.weight - a.weight).slice(0, count);
    process.stdout.write(
      `${formatTable(
        head,
        sorted.map((share) => [percent(share.weight), ...key(share).split("\n")]),
      )}\n`,
    );
  };
  table(["share", "layer"], ({ layer }) => layer, 20);
  table(["self", "layer", "function"], ({ layer, name }) => `${layer}\n${name}`, top);
}

/** What V8 says of its collections: kind, and megabytes before and after. */
function printCollections(trace: string, transfers: number): void {
  const counts = new Map<string, number>();
  let allocatedMb = 0;
  let afterMb = -1;
  for (const [, kind, before, after] of trace.matchAll(
    / ms: (Scavenge|Mark-Compact).*? ([0-9.]+) \([0-9.]+\) -> ([0-9.]+) /g,
  )) {
    counts.set(kind!, (counts.get(kind!) ?? 0) + 1);
    if (afterMb >= 0) allocatedMb += Number(before) - afterMb;
    afterMb = Number(after);
  }
  const count = (kind: string): number => counts.get(kind) ?? 0;
  console.log(`${count("Scavenge")} minor collections, ${count("Mark-Compact")} major ones`);
  const bytes = (allocatedMb * 2 ** 20) / transfers;
  console.log(`allocated between the first and the last: ${bytes.toFixed(2)} bytes per transfer`);
}

/** What the server has printed. */
let output = "";

function listening(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    server.stdout!.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      const match = /listening on (\S+)/.exec(output);
      if (match !== null) resolve(match[1]!);
    });
    server.on("close", () => reject(new Error("the server did not start")));
  });
}

const closed = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => child.on("close", () => resolve()));

const folder = mkdtempSync(join(tmpdir(), "pacioli-profile-"));
try {
  const file = join(folder, "profile.pacioli");
  spawnSync(process.execPath, [mainScript, "format", "--cluster=0", file]);
  const nodeOptions = usesPerf
    ? ["--perf-basic-prof", "--no-write-protect-code-memory"]
    : usesGc
      ? ["--trace-gc"]
      : ["--cpu-prof", `--cpu-prof-dir=${folder}`, "--cpu-prof-interval=500"];
  const startOptions = [mainScript, "start", "--addresses=127.0.0.1:0", file];
  const server = spawn(process.execPath, [...nodeOptions, ...startOptions], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const address = await listening(server);
  const { batch, clients } = values;
  const transfers = Number(values.transfers);
  const load = (count: number): Promise<void> => {
    const options = [`--batch=${batch}`, `--clients=${clients}`, `--transfers=${count}`];
    const script = [mainScript, "benchmark", `--addresses=${address}`, ...options];
    return closed(spawn(process.execPath, script, { stdio: ["ignore", "inherit", "inherit"] }));
  };
  if (usesPerf || usesGc) await load(Math.ceil(transfers / 2));
  output = "";
  const recording = join(folder, "perf.data");
  const perf = usesPerf
    ? spawn("perf", ["record", "-q", "-F", "2000", "-o", recording, "-p", String(server.pid)], {
        stdio: "ignore",
      })
    : null;
  await load(transfers);
  if (perf !== null) {
    perf.kill("SIGINT");
    await closed(perf);
  }
  server.kill("SIGTERM");
  await closed(server);
  const top = Number(values.top);
  if (usesGc) printCollections(output, transfers);
  else if (usesPerf) {
    const options = ["--stdio", "--no-children", "-t", "\t", "--sort", "dso,symbol"];
    const report = spawnSync("perf", ["report", "-i", recording, ...options], {
      encoding: "utf8",
      maxBuffer: 2 ** 28,
    });
    print(readPerfReport(report.stdout), top);
    rmSync(join(tmpdir(), `perf-${server.pid}.map`), { force: true });
  } else {
    const name = readdirSync(folder).find((entry) => entry.endsWith(".cpuprofile"))!;
    print(readCpuProfile(join(folder, name)), top);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
