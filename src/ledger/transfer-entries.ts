/**
 * The entries of a transfer in the sorted indexes: by its id, by both accounts, and by its
 * attributes. Zero user data is not indexed: it can not be asked for.
 */
import { transferRecord } from "./records.ts";
import type { TransferIndexes } from "./store.ts";

const userData128Word = transferRecord.word.userData128;
const userData64Word = transferRecord.word.userData64;
const userData32Word = transferRecord.word.userData32;
const ledgerWord = transferRecord.word.ledger;
const codeWord = transferRecord.word.code;

export function addTransferEntries(
  indexes: TransferIndexes,
  words: Uint32Array,
  at: number,
  row: number,
  debitRow: number,
  creditRow: number,
): void {
  indexes.ids.addLong(row, words, at);
  indexes.accounts.addShort(row, debitRow * 2, 0);
  indexes.accounts.addShort(row, creditRow * 2 + 1, 0);
  const tag = at + userData128Word;
  if ((words[tag]! | words[tag + 1]! | words[tag + 2]! | words[tag + 3]!) !== 0) {
    indexes.userData128.addLong(row, words, tag);
  }
  const tag64 = at + userData64Word;
  if ((words[tag64]! | words[tag64 + 1]!) !== 0) {
    indexes.userData64.addShort(row, words[tag64]!, words[tag64 + 1]!);
  }
  const tag32 = words[at + userData32Word]!;
  if (tag32 !== 0) indexes.userData32.addShort(row, tag32, 0);
  indexes.ledger.addShort(row, words[at + ledgerWord]!, 0);
  indexes.code.addShort(row, words[at + codeWord]! & 0xffff, 0);
}
