/** `pacioli start`: runs the replica of one data file in the foreground. */
import { defineCommand } from "../command.ts";
import { addresses } from "../options.ts";
import { userPath } from "../paths.ts";
import { serve } from "../serve.ts";
import { commonSettings, startOptions } from "../server-options.ts";

export const startCommand = defineCommand({
  name: "start",
  summary: "Run a replica in the foreground",
  description:
    "Runs the replica whose data file is FILE until SIGTERM or SIGINT stops it. Prints 'listening " +
    "on HOST:PORT' once clients can connect. The addresses are those of all replicas, in the order " +
    "of their indexes and the same for each of them: it listens on its own and connects to the others.",
  options: {
    addresses: addresses({
      help: "PORT, HOST, HOST:PORT or [IPv6]:PORT of every replica, with commas between; port 0 picks a free one in a cluster of one",
      required: true,
    }),
    standbys: addresses({
      help: "Addresses of the cluster's standbys, which follow its log without a vote, in the order of their indexes",
      initial: [],
      defaultText: "none",
    }),
    ...startOptions,
  },
  positionals: ["FILE"],
  examples: [
    "pacioli start --addresses=3001 ledger.pacioli",
    "pacioli start --addresses=0.0.0.0:3001 --cache-grid=1GiB /var/lib/pacioli/0.pacioli",
    "pacioli start --addresses=10.0.0.1,10.0.0.2,10.0.0.3 /var/lib/pacioli/1.pacioli",
    "pacioli start --addresses=[::1]:3001 --backend=portable --direct-io=off ledger.pacioli",
  ],
  async run(values, [file], terminal) {
    return serve(
      {
        path: userPath(file!),
        addresses: values.addresses,
        standbys: values.standbys,
        ...commonSettings(values),
        development: values.development,
        cacheGridBytes: values["cache-grid"],
      },
      values["log-level"],
      terminal,
    );
  },
});
