/** `pacioli start`: runs the replica of one data file in the foreground. */
import { defineCommand } from "../command.ts";
import { addresses } from "../options.ts";
import { userPath } from "../paths.ts";
import { serve } from "../serve.ts";
import { commonSettings, oneAddress, startOptions } from "../server-options.ts";

export const startCommand = defineCommand({
  name: "start",
  summary: "Run a replica in the foreground",
  description:
    "Runs the replica whose data file is FILE until SIGTERM or SIGINT stops it. Prints 'listening " +
    "on HOST:PORT' once clients can connect. The addresses are those of all replicas, in the order " +
    "of their indexes; today there is one.",
  options: {
    addresses: addresses({
      help: "PORT, IP, IP:PORT or [IPv6]:PORT of every replica, with commas between; port 0 picks a free one",
      required: true,
    }),
    ...startOptions,
  },
  positionals: ["FILE"],
  examples: [
    "pacioli start --addresses=3001 ledger.pacioli",
    "pacioli start --addresses=0.0.0.0:3001 --cache-grid=1GiB /var/lib/pacioli/0.pacioli",
    "pacioli start --addresses=[::1]:3001 --backend=portable --direct-io=off ledger.pacioli",
  ],
  async run(values, [file], terminal) {
    const { host, port } = oneAddress(values.addresses);
    return serve(
      {
        path: userPath(file!),
        host,
        port,
        ...commonSettings(values),
        development: values.development,
        cacheGridBytes: values["cache-grid"],
      },
      values["log-level"],
      terminal,
    );
  },
});
