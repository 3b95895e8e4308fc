/** `pacioli version`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checksumImplementation } from "../../native/checksum.ts";
import { formatVersion } from "../../wal/data-file.ts";
import { clientReleaseMax, clientReleaseMin, releaseText } from "../../wire/release.ts";
import { defineCommand } from "../command.ts";
import { flag } from "../options.ts";
import { formatFacts, formatJson } from "../output.ts";
import { projectRoot } from "../paths.ts";

export function projectVersion(): string {
  const text = readFileSync(join(projectRoot, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

export const versionCommand = defineCommand({
  name: "version",
  summary: "Print versions",
  description: "Prints the version of the program, of its data files and of the clients it serves.",
  options: { json: flag("One JSON object instead of text") },
  positionals: [],
  examples: ["pacioli version"],
  async run(values, _positionals, terminal) {
    const version = projectVersion();
    const clients = {
      min: releaseText(clientReleaseMin),
      max: releaseText(clientReleaseMax),
    };
    const checksum = checksumImplementation();
    if (values.json) {
      const node = process.version;
      const { platform, arch } = process;
      terminal.out(
        formatJson({
          version,
          dataFileFormat: formatVersion,
          clients,
          checksum,
          node,
          platform,
          arch,
        }),
      );
    } else {
      terminal.out(
        formatFacts([
          ["pacioli", version],
          ["data file format", String(formatVersion)],
          ["clients", `${clients.min} to ${clients.max}`],
          ["checksum", checksum],
          ["node", `${process.version} (${process.platform}, ${process.arch})`],
        ]),
      );
    }
    return 0;
  },
});
