/** `pacioli development`, what `npm start` runs: a ledger to try things with, made when missing. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { replicasMax } from "../../core/limits.ts";
import { formatAddress } from "../../io/socket-address.ts";
import { clientReleaseMax, clientReleaseMin, releaseText } from "../../wire/release.ts";
import { defineCommand, type Terminal } from "../command.ts";
import { CommandError } from "../command-error.ts";
import { formatDataFile } from "../format-file.ts";
import { runLocalCluster } from "../local-cluster.ts";
import { addresses, integer, type OptionValues, text } from "../options.ts";
import { projectRoot, userPath } from "../paths.ts";
import { serve } from "../serve.ts";
import { commonOptions, commonSettings, oneAddress } from "../server-options.ts";
import { defaultHost, defaultPort } from "../values.ts";

const clientReleases = `${releaseText(clientReleaseMin)} to ${releaseText(clientReleaseMax)}`;

interface Place {
  /** As clients take it: a port alone is one of this machine's. */
  readonly address: string;
  readonly what: string;
}

function hint({ address, what }: Place): string {
  const argument = address === String(defaultPort) ? "" : ` ${address}`;
  return `
This is ${what}.
Stop it with Ctrl-C. Try it from another terminal, in ${projectRoot}:

  node examples/first-transfer.mjs${argument}

or with an official TigerBeetle client of release ${clientReleases}: cluster id 0, ${address.includes(",") ? "addresses" : "address"} ${address}.
`;
}

const options = {
  port: integer({ help: "Port on 127.0.0.1", min: 0, max: 65_535, initial: defaultPort }),
  addresses: addresses({ help: "Listen there instead: HOST:PORT or [IPv6]:PORT" }),
  file: text({ help: "Data file", valueName: "PATH", initial: "data/development.pacioli" }),
  replicas: integer({
    help: "Run a cluster of so many, each in a process of its own, on ports from --port on",
    min: 1,
    max: replicasMax,
    initial: 1,
  }),
  directory: text({
    help: "Folder for the data files of several replicas",
    valueName: "PATH",
    defaultText: "data/development-N",
  }),
  ...commonOptions,
};

type Values = OptionValues<typeof options>;

export const developmentCommand = defineCommand({
  name: "development",
  summary: "Run a local server or cluster for trying things; makes its data files when missing",
  description:
    "Starts a server of cluster 0 on a small data file, which is made when it does not exist. With " +
    "--replicas it starts several, which replicate to each other, and prints what each of them says " +
    "behind its index. This is what 'npm start' runs.",
  options,
  positionals: [],
  examples: [
    "npm start",
    "npm start -- --port=3002",
    "npm start -- --replicas=3",
    "pacioli development --file=try.pacioli",
  ],
  async run(values, _positionals, terminal, parsed) {
    if (values.addresses !== undefined && parsed.given.has("port")) {
      throw new CommandError("give --port or --addresses, not both.");
    }
    if (values.replicas > 1) {
      const misplaced = (["file", "addresses"] as const).find((name) => parsed.given.has(name));
      if (misplaced !== undefined) {
        throw new CommandError(
          `--${misplaced} is for one server; --replicas goes with --directory and --port.`,
        );
      }
      return runSeveral(values, terminal);
    }
    if (values.directory !== undefined) {
      throw new CommandError("--directory goes with --replicas; one server has a --file.");
    }
    return runOne(values, terminal);
  },
});

async function runOne(values: Values, terminal: Terminal): Promise<number> {
  const { host, port } = oneAddress(values.addresses ?? [{ host: defaultHost, port: values.port }]);
  const path = userPath(values.file);
  if (!existsSync(path)) {
    makeFolder(dirname(path), "--file");
    await formatDataFile({ ...developmentFormat, path, replica: 0, replicaCount: 1 });
    terminal.error(`formatted '${path}'\n`);
  }
  return serve(
    {
      path,
      addresses: [{ host, port }],
      standbys: [],
      ...commonSettings(values),
      development: true,
      cacheGridBytes: undefined,
    },
    values["log-level"],
    terminal,
    (listening) => {
      const local = host === defaultHost;
      const address = local ? String(listening) : formatAddress(host, listening);
      const what = "a development server: cluster 0, small caches, its data in one file";
      terminal.out(hint({ address, what }));
    },
  );
}

const developmentFormat = { cluster: 0n, development: true, clientsMax: undefined };

async function runSeveral(values: Values, terminal: Terminal): Promise<number> {
  const { replicas, port } = values;
  if (port === 0 || port + replicas - 1 > 65_535) {
    throw new CommandError(
      `--port=${port} leaves no port for each of ${replicas} replicas; give one from 1 to ${65_536 - replicas}.`,
    );
  }
  const folder = userPath(values.directory ?? `data/development-${replicas}`);
  const indexes = Array.from({ length: replicas }, (_, replica) => replica);
  const files = indexes.map((replica) => join(folder, `${replica}.pacioli`));
  await formatMissing(files, folder, terminal);
  const ports = indexes.map((replica) => port + replica).join();
  return runLocalCluster(
    {
      files,
      addresses: ports,
      startOptions: [
        `--backend=${values.backend}`,
        `--direct-io=${values["direct-io"] ? "on" : "off"}`,
        `--request-grouping=${values["request-grouping"] ? "on" : "off"}`,
        `--log-level=${values["log-level"]}`,
      ],
    },
    terminal,
    () => {
      const what = `a development cluster of ${replicas} replicas: cluster 0, small caches, data in '${folder}'`;
      terminal.out(hint({ address: ports, what }));
    },
  );
}

/**
 * All or none: a new file would say of a replica that it never promised anything.
 * @throws {CommandError}
 */
async function formatMissing(
  files: readonly string[],
  folder: string,
  terminal: Terminal,
): Promise<void> {
  const missing = files.filter((file) => !existsSync(file));
  if (missing.length === 0) return;
  if (missing.length < files.length) {
    throw new CommandError(
      `'${missing[0]}' is missing, but other files of its cluster exist; delete '${folder}' to begin anew.`,
    );
  }
  makeFolder(folder, "--directory");
  for (let replica = 0; replica < files.length; replica += 1) {
    const path = files[replica]!;
    await formatDataFile({ ...developmentFormat, path, replica, replicaCount: files.length });
    terminal.error(`formatted '${path}'\n`);
  }
}

/** @throws {CommandError} */
function makeFolder(path: string, option: string): void {
  if (existsSync(path)) return;
  // Step by step: Node's own recursion does not end below /proc, where nothing can be made.
  makeFolder(dirname(path), option);
  try {
    mkdirSync(path);
  } catch (error) {
    throw new CommandError(
      `the folder '${path}' cannot be made (${(error as NodeJS.ErrnoException).code}); choose another with ${option}.`,
    );
  }
}
