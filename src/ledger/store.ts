/**
 * The storage that the ledger sees: tables of fixed-width rows with dense row numbers, declared
 * here and implemented by `storage/`. The ledger knows nothing of blocks, pages or disks.
 *
 * Life of one request: *prefetch* (asynchronous; `fetch` copies rows that lie on disk into memory
 * of the ledger's) → *commit* (synchronous; reads fetched rows and rows appended by this op,
 * appends and changes rows) → *compact* (storage seals full blocks and paces its writes) → at some
 * ops *checkpoint*. Row numbers start at 0.
 */

/** Immutable rows: appended, never changed. Lie on disk but for those of the current op. */
export interface AppendTable {
  readonly name: string;
  readonly rowWords: number;
  /** Rows in the table, those appended by the current op included. */
  readonly count: number;
  /**
   * Adds a row and returns its number. The caller then writes all `rowWords` words at
   * `tailWords[tailAt]`; what lay there before is arbitrary.
   */
  append(): number;
  readonly tailWords: Uint32Array;
  readonly tailAt: number;
  /**
   * Finds a row appended by the current op (since the last `compact`): returns its word index in
   * `foundWords`. Earlier rows are reached by `fetch` alone.
   */
  find(row: number): number;
  readonly foundWords: Uint32Array;
  /** First row of the current op: `find` accepts rows from here on. */
  readonly opFirstRow: number;
  /** Undoes appends of the current op: keeps rows below `count`. */
  truncate(count: number): void;
}

/** Rows that change in place. Resident in memory in this form of the storage. */
export interface PagedTable {
  readonly name: string;
  /** Bytes of a row: a power of two, 1…4096. */
  readonly rowSize: number;
  readonly count: number;
  /**
   * Memory of the rows, cut into slabs of 2^slabShift rows: row r lies in slab r >>> slabShift.
   * Both views show the same memory; slabs are added as rows are, never moved.
   */
  readonly slabWords: readonly Uint32Array[];
  readonly slabBytes: readonly Uint8Array[];
  readonly slabShift: number;
  /** Adds a zeroed row, marks it as changed, and returns its number. */
  append(): number;
  /** Must be called before a row is changed in place. Cheap when its page is dirty already. */
  touch(row: number): void;
  /** Undoes appends of the current op: keeps rows below `count`; the rest is zeroed. */
  truncate(count: number): void;
}

export interface LedgerStore {
  /** 128-byte rows: the wire's Account, balances current. */
  readonly accounts: PagedTable;
  /** 1 byte per transfer row: see PendingStatus. */
  readonly pendingStatus: PagedTable;
  /** 128-byte rows: the wire's Transfer as stored (plus internal flag bits, see records.ts). */
  readonly transfers: AppendTable;
  /** 128-byte rows, row number = transfer row: balances of both accounts after the transfer. */
  readonly balances: AppendTable;
  /** Expiry events for the change feed (160-byte rows: layout in records.ts). */
  readonly expiries: AppendTable;
  /** 16-byte rows: ids of transfers that failed transiently. */
  readonly failedIds: AppendTable;

  /**
   * Copies `count` rows of `table` (numbers in rows[0…count)) one after the other into `target`,
   * starting at word 0. Returns true when it is done already; otherwise `onDone` is called later
   * (never from inside this call). One fetch at a time per store.
   * Rows must be below `table.count`. A row that cannot be read with a valid checksum is never
   * delivered: the store reports it to its owner, which stops the replica.
   */
  fetch(
    table: AppendTable,
    rows: Uint32Array,
    count: number,
    target: Uint32Array,
    onDone: () => void,
  ): boolean;
}
