/** The official client's API over a state machine in process: objects in, objects out. */
import type { ReplayClient } from "../conformance/replay.ts";
import {
  accountBalanceCodec,
  accountCodec,
  accountFilterCodec,
  type Codec,
  changeEventCodec,
  changeEventsFilterCodec,
  createResultCodec,
  decodeArray,
  encodeArray,
  idCodec,
  queryFilterCodec,
  transferCodec,
} from "../reference/codec.ts";
import { encodeRequest, Operation, splitReply } from "../reference/operations.ts";
import type {
  Account,
  AccountBalance,
  AccountFilter,
  ChangeEvent,
  ChangeEventsFilter,
  CreateResult,
  QueryFilter,
  Transfer,
} from "../reference/records.ts";
import { type Harness, InvalidBody } from "./harness.ts";

export class MachineClient {
  constructor(readonly harness: Harness) {}

  createAccounts(batch: readonly Account[]): CreateResult[] {
    return this.call(Operation.createAccounts, accountCodec, batch, createResultCodec);
  }
  createTransfers(batch: readonly Transfer[]): CreateResult[] {
    return this.call(Operation.createTransfers, transferCodec, batch, createResultCodec);
  }
  lookupAccounts(ids: readonly bigint[]): Account[] {
    return this.call(Operation.lookupAccounts, idCodec, ids, accountCodec);
  }
  lookupTransfers(ids: readonly bigint[]): Transfer[] {
    return this.call(Operation.lookupTransfers, idCodec, ids, transferCodec);
  }
  getAccountTransfers(filter: AccountFilter): Transfer[] {
    return this.call(Operation.getAccountTransfers, accountFilterCodec, [filter], transferCodec);
  }
  getAccountBalances(filter: AccountFilter): AccountBalance[] {
    const operation = Operation.getAccountBalances;
    return this.call(operation, accountFilterCodec, [filter], accountBalanceCodec);
  }
  queryAccounts(filter: QueryFilter): Account[] {
    return this.call(Operation.queryAccounts, queryFilterCodec, [filter], accountCodec);
  }
  queryTransfers(filter: QueryFilter): Transfer[] {
    return this.call(Operation.queryTransfers, queryFilterCodec, [filter], transferCodec);
  }
  getChangeEvents(filter: ChangeEventsFilter): ChangeEvent[] {
    const operation = Operation.getChangeEvents;
    return this.call(operation, changeEventsFilterCodec, [filter], changeEventCodec);
  }

  /** The same as `createTransfers`, but no pulse follows. */
  executeTransfers(batch: readonly Transfer[]): CreateResult[] {
    const operation = Operation.createTransfers;
    const body = encodeRequest(operation, [encodeArray(transferCodec, batch)]);
    const [part] = splitReply(operation, this.harness.execute(operation, body))!;
    this.harness.endOp();
    return decodeArray(createResultCodec, part!);
  }

  private call<E, R>(
    operation: number,
    events: Codec<E>,
    batch: readonly E[],
    results: Codec<R>,
  ): R[] {
    const body = encodeRequest(operation, [encodeArray(events, batch)]);
    const parts = splitReply(operation, this.harness.submit(operation, body));
    if (parts === null || parts.length !== 1) throw new Error("a reply answers one sub-batch");
    return decodeArray(results, parts[0]!);
  }
}

/** The same with promises, and with the client's own refusal of what is too much. */
export function replayClient(client: MachineClient): ReplayClient {
  const refuse = <T>(limit: number, answer: () => T): Promise<T> => {
    // The official client refuses larger limits before it sends anything.
    if (limit > 8189) return Promise.reject(new InvalidBody(5));
    try {
      return Promise.resolve(answer());
    } catch (error) {
      return Promise.reject(error);
    }
  };
  return {
    createAccounts: (batch) => refuse(0, () => client.createAccounts(batch)),
    createTransfers: (batch) => refuse(0, () => client.createTransfers(batch)),
    lookupAccounts: (ids) => refuse(0, () => client.lookupAccounts(ids)),
    lookupTransfers: (ids) => refuse(0, () => client.lookupTransfers(ids)),
    getAccountTransfers: (filter) => refuse(filter.limit, () => client.getAccountTransfers(filter)),
    getAccountBalances: (filter) => refuse(filter.limit, () => client.getAccountBalances(filter)),
    queryAccounts: (filter) => refuse(filter.limit, () => client.queryAccounts(filter)),
    queryTransfers: (filter) => refuse(filter.limit, () => client.queryTransfers(filter)),
  };
}
