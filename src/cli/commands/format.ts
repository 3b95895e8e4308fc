/** `pacioli format`: makes the data file of one replica. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { clientsMaxLimit, replicasMax } from "../../core/limits.ts";
import { defineCommand } from "../command.ts";
import { CommandError } from "../command-error.ts";
import { formatDataFile } from "../format-file.ts";
import { flag, integer, u128 } from "../options.ts";
import { userPath } from "../paths.ts";

export const formatCommand = defineCommand({
  name: "format",
  summary: "Make the data file of a new replica",
  description:
    "Creates FILE, the data file of one replica of a new cluster, with room for its journal. An " +
    "existing file is never overwritten. Today a cluster has one replica.",
  options: {
    cluster: u128({
      help: "Id of the cluster, a 128-bit number in decimal; 0 is meant for tests",
      required: true,
    }),
    replica: integer({
      help: "Index of this replica in the cluster",
      min: 0,
      max: replicasMax - 1,
      initial: 0,
    }),
    "replica-count": integer({
      help: "Replicas in the cluster",
      min: 1,
      max: replicasMax,
      initial: 1,
    }),
    development: flag(
      "A small journal and room for few sessions: quick to make, not for production",
    ),
    "clients-max": integer({
      help: "Client sessions that the cluster remembers; further ones push out the least recently used",
      min: 1,
      max: clientsMaxLimit,
      defaultText: "256; with --development 64",
    }),
  },
  positionals: ["FILE"],
  examples: [
    "pacioli format --cluster=0 --development ledger.pacioli",
    "pacioli format --cluster=271828 --replica=0 --replica-count=1 --clients-max=1024 /var/lib/pacioli/0.pacioli",
  ],
  async run(values, [file], terminal) {
    if (values["replica-count"] !== 1) {
      throw new CommandError(
        `a cluster of ${values["replica-count"]} replicas cannot be made yet; give --replica-count=1.`,
      );
    }
    if (values.replica >= values["replica-count"]) {
      throw new CommandError(
        `--replica=${values.replica} is outside a cluster of one replica; give --replica=0.`,
      );
    }
    const path = userPath(file!);
    if (existsSync(path)) {
      throw new CommandError(
        `'${path}' exists and is not overwritten; give the name of a new file.`,
      );
    }
    if (!existsSync(dirname(path))) {
      throw new CommandError(`the folder '${dirname(path)}' does not exist; make it first.`);
    }
    await formatDataFile({
      path,
      cluster: values.cluster,
      replica: values.replica,
      replicaCount: values["replica-count"],
      development: values.development,
      clientsMax: values["clients-max"],
    });
    terminal.out(
      `formatted '${path}': replica ${values.replica} of ${values["replica-count"]}, cluster ${values.cluster}\n`,
    );
    return 0;
  },
});
