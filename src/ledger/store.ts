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

/** A key that `IndexCursor.seek` has no row for, in the direction of its walk. */
export const noRow = -1;
/** `IndexCursor.seek` needs a block: `read` brings it. */
export const unread = -2;

/**
 * A sorted index: keys with rows, each pair once; for one key, in the order of rows. Entries are
 * added at the end of a request and never undone; no row comes before one added earlier.
 */
export interface SortedIndex {
  readonly name: string;
  /** Words of a key: 2 or 4. */
  readonly keyWords: number;
  /** Adds an entry to an index with keys of two words. */
  addShort(row: number, keyLow: number, keyHigh: number): void;
  /** Adds an entry to an index with keys of four words: the key stands at key[keyAt]. */
  addLong(row: number, key: Uint32Array, keyAt: number): void;
}

/** Where a cut went through: the first transfer row and the first burnt id beyond it. */
export interface CutPosition {
  readonly transfers: number;
  readonly failedIds: number;
}

/** The sorted indexes over transfers. They are cut all at once, and only inside `compact`. */
export interface TransferIndexes {
  /** Key: the id. */
  readonly ids: SortedIndex;
  /** Key: account row · 2 + side (0 where it is debited, 1 where it is credited), 0. */
  readonly accounts: SortedIndex;
  /** Zero is not indexed in the three of user data. Those of 32 bits and less have a zero second word. */
  readonly userData128: SortedIndex;
  readonly userData64: SortedIndex;
  readonly userData32: SortedIndex;
  readonly ledger: SortedIndex;
  readonly code: SortedIndex;
  /** Adds a burnt id, at key[keyAt], by its number, to the index of ids. */
  addBurnt(number: number, key: Uint32Array, keyAt: number): void;
  /** What comes before is found by `findIds`; the ledger finds the ids from here on itself. */
  readonly covered: CutPosition;
  /** Where the last cut was: at or beyond `covered`. */
  readonly cut: CutPosition;
  /** After a start, when every entry of rows and burnt ids from `covered` on was added again. */
  rebuilt(): void;
  /**
   * Looks the ids at words[offsets[0 … count)] up among those before `covered`. references[i]: 0 if
   * unknown, row + 1, or −1 − number of a burnt id. True when done at once; otherwise `onDone` is
   * called later, not from inside. One lookup at a time, and no `fetch` meanwhile.
   */
  findIds(
    words: Uint32Array,
    offsets: Uint32Array,
    count: number,
    references: Int32Array,
    onDone: () => void,
  ): boolean;
  /** A cursor of the caller's own, to be kept: it holds a block. */
  createCursor(): IndexCursor;
}

/**
 * Walks the rows of one key in either direction: those of all entries added so far. Good for as
 * long as nothing is added and no op ends.
 */
export interface IndexCursor {
  /**
   * @param key - The key stands at key[keyAt].
   * @param start - No row before it, in the direction of the walk, will be asked for.
   */
  open(
    index: SortedIndex,
    key: Uint32Array,
    keyAt: number,
    ascending: boolean,
    start: number,
  ): void;
  /** After `open`: about how many entries the key has; decides speed, never a result. */
  readonly estimate: number;
  /**
   * The nearest row at or beyond `target` in the direction of the walk, `noRow`, or `unread`. Targets
   * move in the direction of the walk.
   */
  seek(target: number): number;
  /**
   * After `unread`: brings the block, then `seek` is called again. True when it is there at once;
   * otherwise `onDone` is called later, not from inside. No other fetch meanwhile.
   */
  read(onDone: () => void): boolean;
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
  readonly indexes: TransferIndexes;
  /** 8-byte rows: the timestamp of every 512th transfer, and of every 512th expiry event. */
  readonly transferMarks: AppendTable;
  readonly expiryMarks: AppendTable;

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
