/** Scans over random indexes that ask for blocks at any time: against arrays of rows. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { assert } from "../../src/core/assert.ts";
import { Prng } from "../../src/core/prng.ts";
import { TransferConditions } from "../../src/ledger/conditions.ts";
import { Filter } from "../../src/ledger/filter.ts";
import { allocateOnHeap } from "../../src/ledger/indexes/slabs.ts";
import { TimestampIndex } from "../../src/ledger/indexes/timestamp-index.ts";
import { transferRecord } from "../../src/ledger/records.ts";
import { RowScan } from "../../src/ledger/row-scan.ts";
import { noRow, unread } from "../../src/ledger/store.ts";
import { addTransferEntries } from "../../src/ledger/transfer-entries.ts";
import { MemoryStore } from "./memory-store.ts";

const { word } = transferRecord;
const accounts = 3;

interface Row {
  readonly debit: number;
  readonly credit: number;
  readonly words: Uint32Array;
}

function randomRow(row: number, random: Prng): Row {
  const words = new Uint32Array(transferRecord.size / 4);
  words[word.id] = row + 1;
  words[word.userData128 + 3] = random.below(3);
  words[word.userData64 + 1] = random.below(3);
  words[word.userData32] = random.below(3);
  words[word.ledger] = 1 + random.below(2);
  words[word.code] = 1 + random.below(2);
  words[word.timestamp] = 10 + row;
  const debit = random.below(accounts);
  return { debit, credit: (debit + 1 + random.below(accounts - 1)) % accounts, words };
}

function randomFilter(random: Prng, rows: number): Filter {
  const filter = new Filter();
  filter.userData128[3] = random.below(3);
  filter.userData64High = random.below(3);
  filter.userData32 = random.below(3);
  filter.ledger = random.below(3);
  filter.code = random.below(3);
  filter.debits = random.chance(0.6);
  filter.credits = random.chance(0.6);
  filter.reversed = random.chance(0.5);
  if (random.chance(0.5)) filter.min[0] = 10 + random.below(rows + 5);
  if (random.chance(0.5)) filter.max[0] = 5 + random.below(rows + 5);
  return filter;
}

function begin(scan: RowScan, filter: Filter, times: TimestampIndex): void {
  const first = filter.hasMin ? times.firstAtOrAbove(filter.min, 0) : 0;
  const last = filter.hasMax ? times.lastAtOrBelow(filter.max, 0) : times.count - 1;
  scan.begin(first, last, !filter.reversed);
}

/** All rows of a scan, asked for blocks whenever it needs one. */
function walk(scan: RowScan, store: MemoryStore): number[] {
  const rows: number[] = [];
  for (;;) {
    const row = scan.nextRow();
    if (row === noRow) return rows;
    if (row !== unread) {
      rows.push(row);
      continue;
    }
    let called = false;
    const there = scan.read(() => {
      called = true;
    });
    if (!there) assert(store.deliver() && called, "what is read later is delivered");
  }
}

test("a scan finds every row that meets all conditions, in order, whatever is read when", () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 0, max: 120 }), (seed, count) => {
      const random = new Prng(seed);
      const store = new MemoryStore(seed);
      store.indexes.rebuilt();
      const times = new TimestampIndex(allocateOnHeap);
      const rows: Row[] = [];
      for (let row = 0; row < count; row += 1) {
        const one = randomRow(row, random);
        rows.push(one);
        store.transfers.append();
        addTransferEntries(store.indexes, one.words, 0, row, one.debit, one.credit);
        times.append(one.words, word.timestamp);
      }
      const scan = new RowScan();
      const conditions = new TransferConditions(store.indexes);
      for (let round = 0; round < 12; round += 1) {
        const filter = randomFilter(random, count);
        const account = random.below(accounts + 1);
        const ofAccount = filter.debits || filter.credits;
        const leaveOut = random.chance(0.5);
        begin(scan, filter, times);
        if (ofAccount) conditions.addAccount(filter, account, scan);
        conditions.addAttributes(filter, scan);
        if (leaveOut) scan.leaveOutLong();
        const inRange = rows
          .map((_, row) => row)
          .filter((row) => {
            const { debit, credit, words } = rows[row]!;
            const time = words[word.timestamp]!;
            if (filter.hasMin && time < filter.min[0]!) return false;
            if (filter.hasMax && time > filter.max[0]!) return false;
            if (!ofAccount) return true;
            return (filter.debits && debit === account) || (filter.credits && credit === account);
          });
        if (filter.reversed) inRange.reverse();
        const matching = inRange.filter((row) => filter.attributesMatch(rows[row]!.words, 0));
        const found = walk(scan, store);
        // What is left out is checked on the row; account and time are not.
        if (leaveOut) {
          expect(inRange).toEqual(expect.arrayContaining(found));
          expect(found.filter((row) => matching.includes(row))).toEqual(matching);
        } else {
          expect(found).toEqual(matching);
        }
        expect(scan.nextRow()).toBe(noRow);
      }
    }),
    { numRuns: 150, seed: 8 },
  );
});

/** A cursor over all rows from 0 up, which counts how often it is asked. */
class EveryRow {
  seeks = 0;

  seek(target: number): number {
    this.seeks += 1;
    return target;
  }

  read(): boolean {
    return true;
  }
}

test("an attribute that most rows have is left out beside a rare one; an account is not", () => {
  const times = new TimestampIndex(allocateOnHeap);
  for (let row = 0; row < 3; row += 1) times.append(Uint32Array.of(row + 1, 0), 0);
  const scan = new RowScan();
  const [rare, common, account] = [new EveryRow(), new EveryRow(), new EveryRow()];
  begin(scan, new Filter(), times);
  scan.add(common, 1_000_000, false);
  scan.add(account, 2_000_000, true);
  scan.add(rare, 1000, false);
  scan.leaveOutLong();
  expect([scan.nextRow(), scan.nextRow(), scan.nextRow(), scan.nextRow()]).toEqual([0, 1, 2, -1]);
  expect([rare.seeks, common.seeks, account.seeks]).toEqual([3, 0, 3]);
});
