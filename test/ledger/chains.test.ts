/** Linked chains, sub-batches and what a rollback restores (protocol/semantics.md §2). */
import { test } from "vitest";
import { check } from "./script.ts";

test("a failed link undoes its chain", () =>
  check(`
    account  A1 => created
    account  A2 debits_must_not_exceed_credits => created

    transfer T1 A1 A2 10                 => created
    transfer T2 A1 A2 4 linked           => linked_event_failed
    transfer T3 A2 A1 15 linked          => exceeds_credits
    transfer T4 A1 A2 1                  => linked_event_failed
    transfer T5 A1 A2 2                  => created
    balance  A1 debits=12 credits=0
    balance  A2 debits=0 credits=12
    absent   T2
    absent   T4
  `));

test("a chain that holds is kept, and events after it stand alone", () =>
  check(`
    account  A1 => created
    account  A2 => created

    transfer T1 A1 A2 1 linked  => created
    transfer T2 A2 A1 2 linked  => created
    transfer T3 A1 A2 3         => created
    transfer T4 A1 A1 4         => accounts_must_be_different
    balance  A1 debits=4 credits=2
  `));

test("the open end breaks a chain, and says so even when it was broken before", () =>
  check(`
    account A1 linked  => linked_event_failed
    account A2 linked  => linked_event_failed
    account A3 linked  => linked_event_chain_open

    account A1 linked         => linked_event_failed
    account A2 linked ledger=0  => ledger_must_not_be_zero
    account A3 linked         => linked_event_chain_open

    account A1  => created
    account A2  => created
    absent  A3
  `));

test("what exists already breaks a chain", () =>
  check(`
    account A1         => created

    account A2 linked  => linked_event_failed
    account A1         => exists
    absent  A2
  `));

test("chains, modes and positions end with their sub-batch", () =>
  check(`
    account A1 linked                => linked_event_chain_open
    ;
    account A2                       => created
    ;
    account A3 linked                => linked_event_failed
    account A7 code=0                => code_must_not_be_zero
    ;
    account A3                       => created
    ;
    account A4 imported timestamp=5  => imported_event_timestamp_must_not_regress
    found   A2 ledger=1
    absent  A1
  `));

test("imported mode is decided per sub-batch, whatever the first one was", () =>
  check(`
    account A1 imported timestamp=5  => created
    ;
    account A2 imported timestamp=6  => created
    account A3                       => imported_event_expected
    ;
    account A3                       => created

    transfer T1 A1 A3 1                        => created
    ;
    transfer T2 A1 A2 1 imported timestamp=99  => imported_event_timestamp_must_not_regress
    transfer T3 A1 A2 1                        => imported_event_expected
  `));

test("ids of a chain that was undone can be used again, but for the one that failed transiently", () =>
  check(`
    account  A1 => created
    account  A2 => created

    transfer T1 A1 A2 1 linked  => linked_event_failed
    transfer T2 A1 A9 1 linked  => credit_account_not_found
    transfer T3 A1 A2 1         => linked_event_failed

    transfer T1 A1 A2 1  => created
    transfer T2 A1 A2 1  => id_already_failed
    transfer T3 A1 A2 1  => created
  `));

test("an id may come twice in one batch: in a chain, after one, and burnt in between", () =>
  check(`
    account  A1 => created
    account  A2 => created

    transfer T1 A1 A2 1 linked  => linked_event_failed
    transfer T1 A1 A2 1         => exists_with_different_flags
    transfer T1 A1 A2 1         => created
    transfer T1 A1 A2 1         => exists
    transfer T2 A1 A9 1         => credit_account_not_found
    transfer T2 A1 A2 1         => id_already_failed
    transfer T3 A1 A2 1 linked  => linked_event_failed
    transfer T2 A1 A2 1         => id_already_failed
    transfer T3 A1 A2 1         => created
    balance  A1 debits=2
  `));

test("a rollback restores balances, pending states, closed accounts and expiries", () =>
  check(`
    account  A1 => created
    account  A2 => created
    pending  T1 A1 A2 10 timeout=5                  => created
    pending  T2 A1 A2 20                            => created

    post     T3 T1 4 linked                         => linked_event_failed
    void     T4 T2 linked                           => linked_event_failed
    pending  T5 A2 A1 7 linked closing_debit        => linked_event_failed
    pending  T6 A2 A1 1 linked timeout=1            => debit_account_already_closed
    transfer T7 A1 A2 1                             => linked_event_failed
    balance  A1 debits=0 debits_pending=30 credits_pending=0 closed=0
    balance  A2 credits=0 credits_pending=30 debits_pending=0 closed=0

    # Both are pending still, and T1 still expires.
    post     T8 T2                                  => created
    sleep    6s
    balance  A1 debits=20 debits_pending=0
    post     T9 T1                                  => pending_transfer_expired
  `));

test("a pending transfer may be created and resolved in one batch, chained or not", () =>
  check(`
    account  A1 => created
    account  A2 => created

    pending  T1 A1 A2 10 timeout=1 linked  => created
    post     T2 T1 linked                  => created
    transfer T3 A2 A1 1                    => created
    pending  T4 A1 A2 5 timeout=1          => created
    void     T5 T4                         => created
    pending  T6 A1 A2 5 timeout=1 linked   => linked_event_failed
    void     T7 T6 linked                  => linked_event_failed
    void     T8 T6                         => pending_transfer_already_voided
    sleep    2s
    balance  A1 debits=10 debits_pending=0 credits=1
    balance  A2 credits=10 credits_pending=0 debits=1
  `));

test("a chain of accounts comes and goes as one", () =>
  check(`
    account A1 linked user_data_64=7  => linked_event_failed
    account A2 linked                 => linked_event_failed
    account A3 code=0                 => code_must_not_be_zero
    account A2 linked                 => created
    account A3                        => created
    absent  A1
    found   A2 flags=1
    found   A3 flags=0
  `));
