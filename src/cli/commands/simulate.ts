/**
 * `pacioli simulate`: whole clusters on simulated time, networks and disks, from seeds. The simulator
 * is a test: it is compiled beside the command and loaded when it is asked for.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { replicasMax } from "../../core/limits.ts";
import { defineCommand, type Terminal } from "../command.ts";
import { CommandError } from "../command-error.ts";
import { nearest } from "../nearest.ts";
import { choice, flag, integer, text, u128 } from "../options.ts";
import { projectRoot, userPath } from "../paths.ts";

/** What is used here of test/simulator/driver.ts. */
interface Simulator {
  readonly faultKinds: readonly string[];
  readonly canaryNames: readonly string[];
  drive(options: Readonly<Record<string, unknown>>, terminal: Terminal): Promise<number>;
}

const driver = join(projectRoot, "build", "simulator", "test", "simulator", "driver.js");

const seedMax = 2n ** 64n - 1n;

const checksums = { addon: "native", typescript: "portable" } as const;

const options = {
  seed: u128({ help: "Run this seed alone" }),
  seeds: integer({ help: "Run so many seeds", min: 1, max: 1_000_000_000, initial: 20 }),
  "first-seed": u128({ help: "Take consecutive seeds from this one on", defaultText: "random" }),
  minutes: integer({ help: "Run seeds for so long instead", min: 1, max: 1_000_000 }),
  replicas: integer({
    help: "Replicas of every cluster",
    min: 1,
    max: replicasMax,
    defaultText: "each seed draws",
  }),
  without: text({
    help: "Kinds of faults to leave out, separated by commas; a wrong one lists them",
    valueName: "KINDS",
  }),
  canary: text({
    help: "Make this deliberate mistake in every replica; a wrong name lists them",
    valueName: "NAME",
  }),
  canaries: flag("See that every deliberate mistake, or that of --canary, is found"),
  twice: flag("Run every seed twice and compare the digests"),
  checksum: choice(["addon", "typescript"], {
    help: "Checksums of all replicas; the digests are the same",
    defaultText: "each seed draws",
  }),
  json: flag("Print the summary as JSON"),
  "add-to": text({
    help: "Add the summary to the one in this file, which is made if it is not there",
    valueName: "PATH",
  }),
  log: flag("With --seed: one line per event"),
  trace: text({
    help: "With --seed: write the events to this file as MessagePack",
    valueName: "PATH",
  }),
};

export const simulateCommand = defineCommand({
  name: "simulate",
  summary: "Test clusters on simulated machines",
  description:
    "Runs clusters of the real code on simulated time, networks and disks that fail in every way " +
    "they can be survived, and checks every reply and every replica against a model. A seed decides " +
    "everything: what fails can be repeated. Exit code 1 when a seed failed.",
  options,
  positionals: [],
  examples: [
    "pacioli simulate",
    "pacioli simulate --seed=42 --log",
    "pacioli simulate --minutes=60",
    "pacioli simulate --seeds=100 --first-seed=1 --replicas=3 --without=rot,latent",
    "pacioli simulate --canaries",
  ],
  async run(values, _positionals, terminal, parsed) {
    const { seed } = values;
    const firstSeed = values["first-seed"];
    for (const [name, value] of [
      ["seed", seed],
      ["first-seed", firstSeed],
    ] as const) {
      if (value !== undefined && value > seedMax) {
        throw new CommandError(`--${name} must be below 2^64, not '${value}'.`);
      }
    }
    if (seed === undefined) {
      for (const name of ["log", "trace"] as const) {
        if (parsed.given.has(name)) {
          throw new CommandError(`--${name} is about one seed; give --seed=N as well.`);
        }
      }
    }
    const simulator = await load();
    const without = values.without === undefined ? [] : values.without.split(",");
    for (const kind of without) check("kind of faults", kind, simulator.faultKinds);
    if (values.canary !== undefined) check("canary", values.canary, simulator.canaryNames);
    return simulator.drive(
      {
        seed,
        seeds: values.seeds,
        firstSeed,
        minutes: values.minutes,
        replicas: values.replicas,
        without,
        canary: values.canary,
        canaries: values.canaries,
        twice: values.twice,
        checksum: values.checksum === undefined ? undefined : checksums[values.checksum],
        json: values.json,
        addTo: values["add-to"] === undefined ? undefined : userPath(values["add-to"]),
        log: values.log,
        trace: values.trace === undefined ? undefined : userPath(values.trace),
        command: "npm run --silent pacioli -- simulate",
      },
      terminal,
    );
  },
});

async function load(): Promise<Simulator> {
  if (!existsSync(driver)) {
    throw new CommandError(
      "the simulator is not here: it comes with a clone of the project; run 'npm run build' there.",
    );
  }
  // It is compiled together with a copy of the sources, from which the addon is elsewhere.
  process.env["PACIOLI_ADDON_PATH"] ??= join(projectRoot, "build", "pacioli.node");
  return (await import(pathToFileURL(driver).href)) as Simulator;
}

function check(what: string, given: string, names: readonly string[]): void {
  if (names.includes(given)) return;
  const guess = nearest(given, names);
  const hint = guess === undefined ? `there are ${names.join(", ")}` : `did you mean '${guess}'?`;
  const end = guess === undefined ? "." : "";
  throw new CommandError(`there is no ${what} '${given}'; ${hint}${end}`);
}
