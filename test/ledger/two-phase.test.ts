/** Pending transfers, posting, voiding, balancing and closing (protocol/semantics.md §4). */
import { describe, expect, test } from "vitest";
import { makeSettling, makeTransfer } from "../reference/make.ts";
import { check } from "./script.ts";

const pair = `
  account A1  => created
  account A2  => created
`;

describe("two phases", () => {
  test("pending amounts are held, posted in part or in full, and released", () =>
    check(`
      ${pair}
      pending T1 A1 A2 10  => created
      balance A1 debits=0 debits_pending=10
      balance A2 credits=0 credits_pending=10
      post    T2 T1 7      => created
      balance A1 debits=7 debits_pending=0
      balance A2 credits=7 credits_pending=0
      post    T3 T1        => pending_transfer_already_posted
      found   T2 amount=7 debit_account_id=1 credit_account_id=2 ledger=1 code=1 timeout=0
    `));

  test("amount 0: a post posts nothing, a void takes all of it", () =>
    check(`
      ${pair}
      pending T1 A1 A2 10  => created
      post    T2 T1 0      => created
      found   T2 amount=0
      pending T3 A1 A2 10  => created
      void    T4 T3 0      => created
      found   T4 amount=10
      balance A1 debits=0 debits_pending=0
    `));

  test("AMOUNT_MAX: a post takes all of it, a void only where all of it is AMOUNT_MAX", () =>
    check(`
      ${pair}
      pending T1 A1 A2 10   => created
      void    T2 T1 max     => exceeds_pending_transfer_amount
      post    T2 T1 max     => created
      found   T2 amount=10
      account A3            => created
      account A4            => created
      pending T3 A3 A4 max  => created
      void    T4 T3 max     => created
      balance A3 debits_pending=0
    `));

  test("a post inherits the user data that it leaves out", () =>
    check(`
      ${pair}
      pending T1 A1 A2 10 user_data_128=1 user_data_64=2 user_data_32=3  => created
      post    T2 T1 user_data_64=9                                       => created
      found   T2 user_data_128=1 user_data_64=9 user_data_32=3
      post    T2 T1 user_data_64=9                                       => exists
      post    T2 T1 user_data_64=9 user_data_128=1                       => exists
      post    T2 T1                                                      => exists_with_different_user_data_64
    `));

  test("a repeated post or void is recognised by what it meant", () =>
    check(`
      ${pair}
      pending T1 A1 A2 10  => created
      pending T2 A1 A2 10  => created
      post    T3 T1 4      => created
      void    T4 T2        => created

      post    T3 T1 4      => exists
      post    T3 T1 max    => exists_with_different_amount
      post    T3 T1 10     => exists_with_different_amount
      void    T4 T2 10     => exists
      void    T4 T2        => exists
      void    T4 T2 9      => exists_with_different_amount
      post    T4 T2        => exists_with_different_flags
      post    T3 T1 4 ledger=1 code=1 debit_account_id=1 credit_account_id=2  => exists
      post    T3 T1 4 ledger=2              => exists_with_different_ledger
      post    T3 T1 4 code=2                => exists_with_different_code
      post    T3 T1 4 debit_account_id=2    => exists_with_different_debit_account_id
      post    T3 T1 4 credit_account_id=1   => exists_with_different_credit_account_id
    `));

  test("a burnt id is not a pending transfer", () =>
    check(`
      ${pair}
      pending T1 A1 A9 10  => credit_account_not_found
      post    T2 T1        => pending_transfer_not_found
      post    T2 T1        => id_already_failed
      absent  T1
    `));

  test("limits count what is pending on the own side, and only what is posted on the other", () =>
    check(`
      account  A1 debits_must_not_exceed_credits  => created
      account  A2                                 => created
      pending  T1 A2 A1 10                        => created
      transfer T2 A1 A2 1                         => exceeds_credits
      post     T3 T1                              => created
      pending  T4 A1 A2 6                         => created
      transfer T5 A1 A2 5                         => exceeds_credits
      transfer T6 A1 A2 4                         => created
      transfer T7 A1 A2 0                         => created
    `));
});

describe("balancing", () => {
  test("moves what there is, at most the amount, and may move nothing", () =>
    check(`
      ${pair}
      transfer T1 A2 A1 10                       => created
      transfer T2 A1 A2 4 balancing_debit        => created
      found    T2 amount=4
      transfer T3 A1 A2 max balancing_debit      => created
      found    T3 amount=6
      transfer T4 A1 A2 max balancing_debit      => created
      found    T4 amount=0
      balance  A1 debits=10 credits=10
    `));

  test("counts what is pending, and both caps when there are two", () =>
    check(`
      ${pair}
      transfer T1 A2 A1 10                                        => created
      pending  T2 A1 A2 3                                         => created
      transfer T3 A1 A2 max balancing_debit                       => created
      found    T3 amount=7
      account  A3                                                 => created
      transfer T4 A3 A2 5                                         => created
      transfer T5 A2 A3 max balancing_debit balancing_credit      => created
      found    T5 amount=2
      transfer T6 A1 A2 10                                        => created
      transfer T7 A2 A3 max balancing_debit balancing_credit      => created
      found    T7 amount=3
    `));

  test("a repeated balancing transfer is recognised while its bound is no lower", () =>
    check(`
      ${pair}
      transfer T1 A2 A1 10                   => created
      transfer T2 A1 A2 20 balancing_debit   => created
      transfer T2 A1 A2 20 balancing_debit   => exists
      transfer T2 A1 A2 10 balancing_debit   => exists
      transfer T2 A1 A2 9 balancing_debit    => exists_with_different_amount
    `));

  test("goes with pending: what is held is the actual amount", () =>
    check(`
      ${pair}
      transfer T1 A2 A1 10                           => created
      pending  T2 A1 A2 max balancing_debit          => created
      found    T2 amount=10
      balance  A1 debits_pending=10
      post     T3 T2                                 => created
      balance  A1 debits=10 credits=10 debits_pending=0
    `));
});

describe("closing", () => {
  test("a closed account accepts nothing but voids, and is reopened by one", () =>
    check(`
      ${pair}
      pending  T1 A1 A2 5                               => created
      pending  T2 A1 A2 0 closing_debit closing_credit  => created
      balance  A1 closed=1
      balance  A2 closed=1
      transfer T3 A1 A2 0                               => debit_account_already_closed
      post     T4 T1                                    => debit_account_already_closed
      post     T5 T2                                    => debit_account_already_closed
      void     T6 T1                                    => created
      void     T7 T2                                    => created
      balance  A1 closed=0
      balance  A2 closed=0
      transfer T8 A1 A2 1                               => created
    `));

  test("only the accounts that the pending transfer closed are reopened", () =>
    check(`
      ${pair}
      account  A3                          => created
      pending  T1 A1 A2 5                  => created
      pending  T2 A1 A3 5 closing_debit    => created
      void     T3 T1                       => created
      balance  A1 closed=1
      void     T4 T2                       => created
      balance  A1 closed=0 debits_pending=0
    `));

  test("expiry reopens; an account that was closed from the start stays so", () =>
    check(`
      ${pair}
      account  A3 closed                             => created
      pending  T1 A1 A2 5 closing_credit timeout=1   => created
      transfer T2 A1 A2 1                            => credit_account_already_closed
      sleep    2s
      transfer T3 A1 A2 1                            => created
      transfer T4 A1 A3 1                            => credit_account_already_closed
    `));
});

test("the largest amounts move without overflow, one word at a time", () => {
  const script = check(pair);
  const { client } = script;
  let posted = 0n;
  let id = 100n;
  for (const bits of [31n, 32n, 33n, 63n, 64n, 65n, 95n, 96n, 97n, 125n, 126n]) {
    for (const amount of [(1n << bits) - 1n, 1n << bits]) {
      id += 2n;
      const results = client.createTransfers([
        makeTransfer(id, 1n, 2n, amount, { flags: 2 }),
        makeSettling(id + 1n, id, amount, 4),
        makeTransfer(id + 1000n, 2n, 1n, 1n),
      ]);
      expect(results.map(({ status }) => status)).toEqual([0xffff_ffff, 0xffff_ffff, 0xffff_ffff]);
      posted += amount;
      const [debit, credit] = client.lookupAccounts([1n, 2n]);
      expect(debit!.debits_posted).toBe(posted);
      expect(credit!.credits_posted).toBe(posted);
      expect(debit!.debits_pending).toBe(0n);
    }
  }
});
