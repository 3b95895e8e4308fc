/** `pacioli format`: makes the data file of one replica. */
import { clientsMaxLimit, replicasMax, standbysMax } from "../../core/limits.ts";
import { defineCommand } from "../command.ts";
import { CommandError } from "../command-error.ts";
import { makeDataFile, replicaIndex } from "../new-data-file.ts";
import { flag, integer, u128 } from "../options.ts";
import { memberText } from "../values.ts";

export const formatCommand = defineCommand({
  name: "format",
  summary: "Make the data file of a new replica",
  description:
    "Creates FILE, the data file of one replica of a new cluster, with room for its journal. An " +
    "existing file is never overwritten. All replicas of a cluster are formatted with the same " +
    "options but --replica.",
  options: {
    cluster: u128({
      help: "Id of the cluster, a 128-bit number in decimal; 0 is meant for tests",
      required: true,
    }),
    replica: integer({
      help: "Index of this replica in the cluster",
      min: 0,
      max: replicasMax - 1,
      defaultText: "0 in a cluster of one",
    }),
    standby: integer({
      help: "Instead of --replica: index of this standby; the first one's is --replica-count",
      min: 0,
      max: replicasMax + standbysMax - 1,
      defaultText: "a replica's file",
    }),
    "replica-count": integer({
      help: "Replicas in the cluster, standbys not counted",
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
    "pacioli format --cluster=271828 --replica=0 --replica-count=3 --clients-max=1024 /var/lib/pacioli/0.pacioli",
  ],
  async run(values, [file], terminal) {
    const replicaCount = values["replica-count"];
    const { standby } = values;
    const replica =
      standby === undefined
        ? replicaIndex(values.replica, replicaCount)
        : standbyIndex(standby, values.replica, replicaCount);
    const path = await makeDataFile(file!, values, replica);
    terminal.out(
      `formatted '${path}': ${memberText(replica, replicaCount)}, cluster ${values.cluster}\n`,
    );
    return 0;
  },
});

/** @throws {CommandError} */
function standbyIndex(standby: number, replica: number | undefined, replicaCount: number): number {
  if (replica !== undefined) {
    throw new CommandError("--replica and --standby exclude each other; give one of them.");
  }
  if (replicaCount === 1) {
    throw new CommandError("a cluster of one has no standbys; give --replica-count=2 or more.");
  }
  const last = replicaCount + standbysMax - 1;
  if (standby < replicaCount || standby > last) {
    throw new CommandError(
      `--standby=${standby} is no standby's index in a cluster of ${replicaCount}; give ` +
        `--standby=${replicaCount} to ${last}.`,
    );
  }
  return standby;
}
