/** `pacioli recover`: makes a data file in the place of one that a cluster has lost. */
import { clientsMaxLimit, replicasMax } from "../../core/limits.ts";
import { defineCommand } from "../command.ts";
import { makeDataFile, replicaIndex } from "../new-data-file.ts";
import { flag, integer, u128 } from "../options.ts";

export const recoverCommand = defineCommand({
  name: "recover",
  summary: "Make a data file in the place of one that a cluster has lost",
  description:
    "Creates FILE for a replica whose data file is gone, while the rest of its cluster goes on. Started " +
    "with `pacioli start`, it fetches everything from the other replicas. Until it has what the lost " +
    "file may have promised, it votes in nothing, so most of the others must be running: both in a " +
    "cluster of three. Give the options that the cluster was formatted with. Never start the lost file " +
    "again, should it turn up.",
  options: {
    cluster: u128({
      help: "Id of the cluster, a 128-bit number in decimal",
      required: true,
    }),
    replica: integer({
      help: "Index of the replica whose data file is lost",
      min: 0,
      max: replicasMax - 1,
      required: true,
    }),
    "replica-count": integer({
      help: "Replicas in the cluster",
      min: 2,
      max: replicasMax,
      required: true,
    }),
    development: flag("The cluster was formatted with --development"),
    "clients-max": integer({
      help: "Client sessions that the cluster was formatted for",
      min: 1,
      max: clientsMaxLimit,
      defaultText: "256; with --development 64",
    }),
  },
  positionals: ["FILE"],
  examples: [
    "pacioli recover --cluster=271828 --replica=1 --replica-count=3 /var/lib/pacioli/1.pacioli",
  ],
  async run(values, [file], terminal) {
    const replicaCount = values["replica-count"];
    const replica = replicaIndex(values.replica, replicaCount);
    const path = await makeDataFile(file!, values, replica, true);
    terminal.out(
      `made '${path}' for replica ${replica} of ${replicaCount}, cluster ${values.cluster}; start it, and it ` +
        "rebuilds itself from the others\n",
    );
    return 0;
  },
});
