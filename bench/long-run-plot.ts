/**
 * Draws what runs of `long-run --out=FILE` found as one SVG: throughput, slowest batch and memory over
 * the transfers so far, a curve for each run.
 *
 * Usage: node scripts/bench.mjs long-run-plot -- --plot=a.json,b.json --svg=out.svg
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { plotRuns } from "./long-run/plot.ts";
import type { LongRun } from "./long-run/report.ts";

const { values } = parseArgs({
  options: { plot: { type: "string", default: "" }, svg: { type: "string", default: "" } },
});
if (values.plot === "" || values.svg === "") {
  console.error(
    "Usage: node scripts/bench.mjs long-run-plot -- --plot=a.json,b.json --svg=out.svg",
  );
  process.exit(1);
}
const runs = values.plot
  .split(",")
  .map((path) => JSON.parse(readFileSync(path, "utf8")) as LongRun);
writeFileSync(values.svg, plotRuns(runs));
