// The official client in a process of its own, since it may block or abort the one that it is in.
// Takes calls over Node's channel between processes, one after the other, and answers with what the
// client gave. Usage: fork(this file, [ADDRESSES])
import process from "node:process";
import { createClient } from "tigerbeetle-node";

const client = createClient({ cluster_id: 0n, replica_addresses: [process.argv[2]] });

process.on("message", ({ method, argument }) => {
  client[method](argument).then(
    (result) => process.send({ result }),
    (error) => process.send({ error: `${method}: ${error.stack}` }),
  );
});
process.on("disconnect", () => process.exit(0));
