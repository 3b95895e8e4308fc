/** `pacioli development`, what `npm start` runs: a ledger to try things with, made when missing. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { clientReleaseMax, clientReleaseMin, releaseText } from "../../wire/release.ts";
import { defineCommand } from "../command.ts";
import { CommandError } from "../command-error.ts";
import { formatDataFile } from "../format-file.ts";
import { addresses, integer, text } from "../options.ts";
import { projectRoot, userPath } from "../paths.ts";
import { serve } from "../serve.ts";
import { commonOptions, commonSettings, oneAddress } from "../server-options.ts";
import { defaultHost, defaultPort, formatAddress } from "../values.ts";

const clientReleases = `${releaseText(clientReleaseMin)} to ${releaseText(clientReleaseMax)}`;

/** @param address - As clients take it: a port alone is one of this machine's. */
function hint(address: string): string {
  const argument = address === String(defaultPort) ? "" : ` ${address}`;
  return `
This is a development server: cluster 0, small caches, its data in one file.
Stop it with Ctrl-C. Try it from another terminal, in ${projectRoot}:

  node examples/first-transfer.mjs${argument}

or with an official TigerBeetle client of release ${clientReleases}: cluster id 0, address ${address}.
`;
}

export const developmentCommand = defineCommand({
  name: "development",
  summary: "Run a local server for trying things; makes its data file when missing",
  description:
    "Starts a server of cluster 0 on a small data file, which is made when it does not exist. " +
    "This is what 'npm start' runs.",
  options: {
    port: integer({ help: "Port on 127.0.0.1", min: 0, max: 65_535, initial: defaultPort }),
    addresses: addresses({ help: "Listen there instead: IP:PORT or [IPv6]:PORT" }),
    file: text({ help: "Data file", placeholder: "PATH", initial: "data/development.pacioli" }),
    ...commonOptions,
  },
  positionals: [],
  examples: [
    "npm start",
    "npm start -- --port=3002",
    "pacioli development --file=/tmp/try.pacioli",
  ],
  async run(values, _positionals, terminal, parsed) {
    if (values.addresses !== undefined && parsed.given.has("port")) {
      throw new CommandError("give --port or --addresses, not both.");
    }
    const { host, port } = oneAddress(
      values.addresses ?? [{ host: defaultHost, port: values.port }],
    );
    const path = userPath(values.file);
    if (!existsSync(path)) {
      makeFolder(dirname(path));
      await formatDataFile({
        path,
        cluster: 0n,
        replica: 0,
        replicaCount: 1,
        development: true,
        clientsMax: undefined,
      });
      terminal.error(`formatted '${path}'\n`);
    }
    return serve(
      {
        path,
        host,
        port,
        ...commonSettings(values),
        development: true,
        cacheGridBytes: undefined,
      },
      values["log-level"],
      terminal,
      (listening) => {
        const local = host === defaultHost;
        const address = local ? String(listening) : formatAddress({ host, port: listening });
        terminal.out(hint(address));
      },
    );
  },
});

/** @throws {CommandError} */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  // Step by step: Node's own recursion does not end below /proc, where nothing can be made.
  makeFolder(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    throw new CommandError(
      `the folder '${path}' cannot be made (${(error as NodeJS.ErrnoException).code}); choose another with --file.`,
    );
  }
}
