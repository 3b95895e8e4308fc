/**
 * Curves of long runs as an SVG: throughput and the slowest batch over the transfers so far, one above
 * the other, and the server's memory beside them. One colour and one dash per run.
 */
import type { LongRun } from "./report.ts";

interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export interface Axis {
  /** Where the axis ends; it begins at 0. A multiple of `step`. */
  readonly max: number;
  readonly step: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

interface Curve {
  readonly name: string;
  readonly points: readonly Point[];
}

interface Panel {
  readonly title: string;
  readonly curves: readonly Curve[];
  readonly box: Box;
  /** How its values are written beside the axis. */
  readonly divisor: number;
}

const width = 960;
const height = 560;
const colors = ["#1f5fbf", "#c2410c", "#2b7a3d", "#7a3d9e"];
const dashes = ["", "6 3", "2 3", "8 3 2 3"];

/** An axis from 0 to `max` or a little beyond, with about `ticks` steps of 1, 2 or 5 · 10^n. */
export function axisTo(max: number, ticks: number): Axis {
  if (!(max > 0)) return { max: 1, step: 1 };
  const rough = max / ticks;
  const power = 10 ** Math.floor(Math.log10(rough));
  // The tolerance keeps a step of 0.3 / 3 from being taken for more than 0.1.
  const factor = [1, 2, 5].find((each) => each * power >= rough * (1 - 1e-9)) ?? 10;
  const step = factor * power;
  return { max: Math.ceil(max / step - 1e-9) * step, step };
}

/** Where a value lies between `from` (at 0) and `to` (at the end of the axis). */
export function position(axis: Axis, value: number, from: number, to: number): number {
  return from + (value / axis.max) * (to - from);
}

/** @param runs - As `long-run --out` wrote them. */
export function plotRuns(runs: readonly LongRun[]): string {
  const curves = (value: (sample: LongRun["samples"][number]) => number): Curve[] =>
    runs.map((run) => ({
      name: run.name,
      points: run.samples.map((sample) => ({ x: sample.transfers, y: value(sample) })),
    }));
  const left = { left: 70, width: 500 };
  const panels: Panel[] = [
    {
      title: "transfers per second, thousands",
      curves: curves((sample) => sample.transfersPerSecond),
      box: { ...left, top: 60 + 20 * runs.length, height: 180 },
      divisor: 1000,
    },
    {
      title: "slowest batch, ms",
      curves: curves((sample) => sample.slowestMs),
      box: { ...left, top: 300 + 20 * runs.length, height: 180 },
      divisor: 1,
    },
    {
      title: "resident memory, MiB",
      curves: curves((sample) => sample.residentBytes / 2 ** 20),
      box: { left: 660, top: 60 + 20 * runs.length, width: 270, height: 420 },
      divisor: 1,
    },
  ];
  const transfersMax = Math.max(0, ...runs.flatMap((run) => run.samples.map((s) => s.transfers)));
  const total = height + 20 * runs.length;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" ` +
    `viewBox="0 0 ${width} ${total}" font-family="sans-serif" font-size="12" fill="#222">\n` +
    `<rect width="${width}" height="${total}" fill="#fff"/>\n` +
    runs.map((run, index) => legend(run.name, index)).join("") +
    panels.map((panel) => drawPanel(panel, transfersMax)).join("") +
    "</svg>\n"
  );
}

function legend(name: string, index: number): string {
  const y = 24 + 20 * index;
  return (
    `<line x1="70" y1="${y}" x2="100" y2="${y}" ${stroke(index)}/>` +
    `<text x="108" y="${y + 4}">${escaped(name)}</text>\n`
  );
}

function drawPanel({ title, curves, box, divisor }: Panel, transfersMax: number): string {
  const bottom = box.top + box.height;
  const right = box.left + box.width;
  const across = axisTo(transfersMax, box.width / 90);
  const up = axisTo(Math.max(0, ...curves.flatMap((c) => c.points.map((p) => p.y))), 5);
  const x = (value: number): number => position(across, value, box.left, right);
  const y = (value: number): number => position(up, value, bottom, box.top);
  let text = `<text x="${box.left}" y="${box.top - 10}" font-weight="bold">${title}</text>\n`;
  for (const value of ticks(up)) {
    const at = y(value).toFixed(1);
    text +=
      `<line x1="${box.left}" y1="${at}" x2="${right}" y2="${at}" stroke="#ddd"/>` +
      `<text x="${box.left - 6}" y="${Number(at) + 4}" text-anchor="end">${label(value / divisor)}</text>\n`;
  }
  for (const value of ticks(across)) {
    text += `<text x="${x(value).toFixed(1)}" y="${bottom + 18}" text-anchor="middle">${label(value / 1e6)}</text>\n`;
  }
  text += `<text x="${right}" y="${bottom + 34}" text-anchor="end">million transfers</text>\n`;
  for (const [index, { points }] of curves.entries()) {
    const path = points.map((p) => `${x(p.x).toFixed(1)},${y(p.y).toFixed(1)}`).join(" ");
    text += `<polyline points="${path}" fill="none" ${stroke(index)}/>\n`;
  }
  return text;
}

function ticks({ max, step }: Axis): number[] {
  return Array.from({ length: Math.round(max / step) + 1 }, (_, index) => index * step);
}

/** Without the noise of binary fractions: 0.30000000000000004 is 0.3. */
function label(value: number): string {
  return Number(value.toPrecision(6)).toLocaleString("en-US");
}

function stroke(index: number): string {
  const dash = dashes[index % dashes.length]!;
  const color = colors[index % colors.length]!;
  return `stroke="${color}" stroke-width="1.8"${dash === "" ? "" : ` stroke-dasharray="${dash}"`}`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
