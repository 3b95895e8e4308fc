/**
 * The project's figures: each line is one run of `pacioli benchmark` against a fresh server of its
 * own, the last one the rate through the official client. Prints one table.
 *
 * Usage: node scripts/bench.mjs end-to-end [--backend=auto|uring|portable] [--quick] [--json]
 *   --quick  a tenth of the transfers: to see that it works, not for figures to be quoted
 */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { formatCount, formatMilliseconds, formatTable } from "../src/cli/output.ts";
import { mainScript } from "../src/cli/paths.ts";

interface Load {
  readonly name: string;
  readonly transfers: number;
  readonly options: readonly string[];
}

const loads: readonly Load[] = [
  { name: "batch 8189, 1 client", transfers: 5_000_000, options: ["--batch=8189"] },
  { name: "batch 253, 1 client", transfers: 1_000_000, options: ["--batch=253"] },
  { name: "batch 1, 1 client", transfers: 50_000, options: ["--batch=1"] },
  {
    name: "batch 1, 32 clients",
    transfers: 300_000,
    options: ["--batch=1", "--clients=32"],
  },
  {
    name: "batch 1, 32 clients, no grouping",
    transfers: 50_000,
    options: ["--batch=1", "--clients=32", "--request-grouping=off"],
  },
  { name: "batch 10, 64 clients", transfers: 1_000_000, options: ["--batch=10", "--clients=64"] },
];

/** What `pacioli benchmark --json` prints, as far as it is used here. */
interface Figures {
  readonly transfersPerSecond: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly generatorCpuS: number;
  readonly transfers: number;
  readonly server: null | {
    readonly startMs: number;
    readonly cpuS: number;
    readonly residentBytesMax: number;
  };
}

const { values } = parseArgs({
  options: {
    backend: { type: "string", default: "auto" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

function runJson(script: string, args: readonly string[]): Figures {
  const result = spawnSync(process.execPath, [script, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
  if (result.status !== 0) throw new Error(`'${args.join(" ")}' ended with ${result.status}`);
  return JSON.parse(result.stdout) as Figures;
}

function row(name: string, figures: Figures): string[] {
  const perTransfer = (cpuS: number): string => ((cpuS * 1e6) / figures.transfers).toFixed(2);
  const { p50, p99, max } = figures.latencyMs;
  return [
    name,
    formatCount(figures.transfersPerSecond),
    formatMilliseconds(p50),
    formatMilliseconds(p99),
    formatMilliseconds(max),
    figures.server === null ? "" : perTransfer(figures.server.cpuS),
    perTransfer(figures.generatorCpuS),
    figures.server === null ? "" : formatCount(figures.server.residentBytesMax / 2 ** 20),
  ];
}

const all: Record<string, Figures> = {};
for (const load of loads) {
  const transfers = Math.ceil(load.transfers / (values.quick ? 10 : 1));
  process.stderr.write(`${load.name} …\n`);
  all[load.name] = runJson(mainScript, [
    "benchmark",
    "--json",
    `--transfers=${transfers}`,
    `--backend=${values.backend}`,
    ...load.options,
  ]);
}
process.stderr.write("official client …\n");
const here = dirname(fileURLToPath(import.meta.url));
all["official Node client, batch 8189"] = runJson(join(here, "official-client.js"), [
  "--json",
  `--backend=${values.backend}`,
  `--transfers=${values.quick ? 100_000 : 1_000_000}`,
]);

if (values.json) {
  console.log(JSON.stringify(all, null, 2));
} else {
  const head = ["load", "transfers/s", "p50", "p99", "max", "server µs", "client µs", "MiB"];
  process.stdout.write(
    formatTable(
      head,
      Object.entries(all).map(([name, figures]) => row(name, figures)),
    ),
  );
  console.log("µs: CPU time per transfer. MiB: most memory of the server.");
}
