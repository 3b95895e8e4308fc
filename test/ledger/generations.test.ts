/**
 * Ids are looked up in the generation that grows, in the one that is being written, and in runs:
 * each scenario with its first part in every one of them, before and after a restart.
 */
import { describe, test } from "vitest";
import { check } from "./script.ts";

const past = `
  account A1  => created
  account A2  => created

  transfer T1 A1 A2 1               => created
  pending  T2 A1 A2 2               => created
  pending  T3 A1 A2 3               => created
  pending  T4 A1 A2 4               => created
  post     T5 T2 1 user_data_64=9   => created
  transfer T6 A1 A9 1               => credit_account_not_found
`;

describe.each([
  ["in memory, growing", ""],
  ["in memory, sealed", "cut"],
  ["in runs", "cut\ncut"],
  ["in runs, with newer generations", "cut\ntransfer T90 A1 A2 1 => created\n\ncut"],
])("ids %s", (_name, cuts) => {
  describe.each([
    ["", ""],
    ["after a restart", "restart"],
  ])("%s", (_restarted, restart) => {
    const before = `${past}\n${cuts}\n${restart}`;

    test("exist, and burnt ones stay burnt", () =>
      check(`
        ${before}
        transfer T1 A1 A2 1              => exists
        transfer T1 A1 A2 2              => exists_with_different_amount
        transfer T6 A1 A2 1              => id_already_failed
        transfer T7 A1 A2 1              => created
        transfer T7 A1 A2 1              => exists
        post     T5 T2 1 user_data_64=9  => exists
        post     T5 T2 1 user_data_64=8  => exists_with_different_user_data_64
        post     T5 T3 1                 => exists_with_different_pending_id
        found    T1 amount=1
        found    T5 amount=1
        found    T7 amount=1
        absent   T6
        absent   T8
      `));

    test("of pending transfers are posted and voided, with others of the same request", () =>
      check(
        `
        ${before}
        pending  T10 A1 A2 5  => created
        post     T11 T10      => created
        post     T12 T3       => created
        post     T13 T2       => pending_transfer_already_posted
        void     T14 T4       => created
        void     T14 T4       => exists
        post     T12 T3       => exists
        post     T15 T1       => pending_transfer_not_pending
        post     T16 T6       => pending_transfer_not_found
        post     T17 T99      => pending_transfer_not_found
        balance  A1 debits_pending=0
        found    T12 amount=3
        found    T14 amount=4

        post     T11 T10      => exists
      `,
      ));

    test("of what a broken chain undid are free again, but for the one that broke it", () =>
      check(`
        ${before}
        transfer T20 A1 A2 1 linked  => linked_event_failed
        post     T21 T3 linked       => linked_event_failed
        transfer T22 A1 A9 1         => credit_account_not_found
        transfer T20 A1 A2 1         => created
        void     T21 T3              => created
        transfer T22 A1 A2 1         => id_already_failed

        cut
        transfer T20 A1 A2 1         => exists
        transfer T22 A1 A2 1         => id_already_failed
        cut
        restart
        void     T21 T3              => exists
        transfer T22 A1 A2 1         => id_already_failed
      `));
  });
});
