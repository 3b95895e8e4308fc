import { createClient, id } from "tigerbeetle-node";

const client = createClient({ cluster_id: 0n, replica_addresses: [process.argv[2] ?? "3001"] });
const zero = { user_data_128: 0n, user_data_64: 0n, user_data_32: 0, flags: 0, timestamp: 0n };
const empty = { debits_pending: 0n, debits_posted: 0n, credits_pending: 0n, credits_posted: 0n };
const account = { ...zero, ...empty, reserved: 0, ledger: 1, code: 1 };
const move = { ...zero, id: id(), debit_account_id: 1n, credit_account_id: 2n, amount: 10n };
await client.createAccounts([
  { ...account, id: 1n },
  { ...account, id: 2n },
]);
await client.createTransfers([{ ...move, pending_id: 0n, timeout: 0, ledger: 1, code: 1 }]);
for (const one of await client.lookupAccounts([1n, 2n])) {
  console.log(`account ${one.id}: debits ${one.debits_posted}, credits ${one.credits_posted}`);
}
client.destroy();
