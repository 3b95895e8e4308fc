/**
 * Objects to bytes and back, from field tables in the order of the protocol's structures; and the
 * multi-batch encoding. Slow and plain on purpose: one little-endian integer after the other.
 */
import type {
  Account,
  AccountBalance,
  AccountFilter,
  ChangeEvent,
  ChangeEventsFilter,
  CreateResult,
  ErrorResult,
  QueryFilter,
  Transfer,
} from "./records.ts";

export function readInteger(bytes: Uint8Array, at: number, size: number): bigint {
  if (size <= 4) {
    let small = 0;
    for (let i = size - 1; i >= 0; i -= 1) small = small * 256 + bytes[at + i]!;
    return BigInt(small);
  }
  let value = 0n;
  for (let i = size - 1; i >= 0; i -= 1) value = (value << 8n) | BigInt(bytes[at + i]!);
  return value;
}

export function writeInteger(bytes: Uint8Array, at: number, size: number, value: bigint): void {
  let rest = value;
  for (let i = 0; i < size; i += 1) {
    bytes[at + i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  if (rest !== 0n) throw new RangeError(`${value} does not fit ${size} bytes`);
}

/**
 * Fields in order: name and size. Fields of 8 bytes and more, and `reserved` arrays, are bigint;
 * smaller ones are number. "zero" marks bytes that are written as 0 and not kept when read.
 */
type Fields = readonly (readonly [name: string, size: number])[];

export interface Codec<T> {
  readonly size: number;
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

function makeCodec<T extends object>(fields: Fields): Codec<T> {
  let size = 0;
  for (const [, fieldSize] of fields) size += fieldSize;
  return {
    size,
    encode(value: T): Uint8Array {
      const bytes = new Uint8Array(size);
      let at = 0;
      for (const [name, fieldSize] of fields) {
        const field = (value as Record<string, bigint | number | undefined>)[name];
        writeInteger(bytes, at, fieldSize, BigInt(field ?? 0));
        at += fieldSize;
      }
      return bytes;
    },
    decode(bytes: Uint8Array): T {
      if (bytes.length !== size) throw new RangeError(`${bytes.length} bytes, not ${size}`);
      const value: Record<string, bigint | number> = {};
      let at = 0;
      for (const [name, fieldSize] of fields) {
        if (name !== "zero") {
          const field = readInteger(bytes, at, fieldSize);
          value[name] = fieldSize <= 4 ? Number(field) : field;
        }
        at += fieldSize;
      }
      return value as T;
    },
  };
}

export const accountCodec = makeCodec<Account>([
  ["id", 16],
  ["debits_pending", 16],
  ["debits_posted", 16],
  ["credits_pending", 16],
  ["credits_posted", 16],
  ["user_data_128", 16],
  ["user_data_64", 8],
  ["user_data_32", 4],
  ["reserved", 4],
  ["ledger", 4],
  ["code", 2],
  ["flags", 2],
  ["timestamp", 8],
]);

export const transferCodec = makeCodec<Transfer>([
  ["id", 16],
  ["debit_account_id", 16],
  ["credit_account_id", 16],
  ["amount", 16],
  ["pending_id", 16],
  ["user_data_128", 16],
  ["user_data_64", 8],
  ["user_data_32", 4],
  ["timeout", 4],
  ["ledger", 4],
  ["code", 2],
  ["flags", 2],
  ["timestamp", 8],
]);

export const createResultCodec = makeCodec<CreateResult>([
  ["timestamp", 8],
  ["status", 4],
  ["reserved", 4],
]);

export const errorResultCodec = makeCodec<ErrorResult>([
  ["index", 4],
  ["result", 4],
]);

export const accountBalanceCodec = makeCodec<AccountBalance>([
  ["debits_pending", 16],
  ["debits_posted", 16],
  ["credits_pending", 16],
  ["credits_posted", 16],
  ["timestamp", 8],
  ["zero", 56],
]);

export const accountFilterCodec = makeCodec<AccountFilter>([
  ["account_id", 16],
  ["user_data_128", 16],
  ["user_data_64", 8],
  ["user_data_32", 4],
  ["code", 2],
  ["reserved", 58],
  ["timestamp_min", 8],
  ["timestamp_max", 8],
  ["limit", 4],
  ["flags", 4],
]);

export const queryFilterCodec = makeCodec<QueryFilter>([
  ["user_data_128", 16],
  ["user_data_64", 8],
  ["user_data_32", 4],
  ["ledger", 4],
  ["code", 2],
  ["reserved", 6],
  ["timestamp_min", 8],
  ["timestamp_max", 8],
  ["limit", 4],
  ["flags", 4],
]);

export const changeEventsFilterCodec = makeCodec<ChangeEventsFilter>([
  ["timestamp_min", 8],
  ["timestamp_max", 8],
  ["limit", 4],
  ["reserved", 44],
]);

const accountSnapshotFields = (side: string): Fields => [
  [`${side}_account_id`, 16],
  [`${side}_account_debits_pending`, 16],
  [`${side}_account_debits_posted`, 16],
  [`${side}_account_credits_pending`, 16],
  [`${side}_account_credits_posted`, 16],
  [`${side}_account_user_data_128`, 16],
  [`${side}_account_user_data_64`, 8],
  [`${side}_account_user_data_32`, 4],
  [`${side}_account_code`, 2],
  [`${side}_account_flags`, 2],
];

export const changeEventCodec = makeCodec<ChangeEvent>([
  ["transfer_id", 16],
  ["transfer_amount", 16],
  ["transfer_pending_id", 16],
  ["transfer_user_data_128", 16],
  ["transfer_user_data_64", 8],
  ["transfer_user_data_32", 4],
  ["transfer_timeout", 4],
  ["transfer_code", 2],
  ["transfer_flags", 2],
  ["ledger", 4],
  ["type", 1],
  ["zero", 39],
  ...accountSnapshotFields("debit"),
  ...accountSnapshotFields("credit"),
  ["timestamp", 8],
  ["transfer_timestamp", 8],
  ["debit_account_timestamp", 8],
  ["credit_account_timestamp", 8],
]);

/** A bare u128, the element of lookup requests. */
export const idCodec: Codec<bigint> = {
  size: 16,
  encode(value) {
    const bytes = new Uint8Array(16);
    writeInteger(bytes, 0, 16, value);
    return bytes;
  },
  decode: (bytes) => readInteger(bytes, 0, 16),
};

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Elements back to back, without a trailer. */
export function encodeArray<T>(codec: Codec<T>, values: readonly T[]): Uint8Array {
  return concat(values.map((value) => codec.encode(value)));
}

export function decodeArray<T>(codec: Codec<T>, bytes: Uint8Array): T[] {
  if (bytes.length % codec.size !== 0) throw new RangeError("not whole elements");
  const values: T[] = [];
  for (let at = 0; at < bytes.length; at += codec.size) {
    values.push(codec.decode(bytes.subarray(at, at + codec.size)));
  }
  return values;
}

/** Bytes of the trailer of a body of `count` sub-batches. */
export function trailerSize(elementSize: number, count: number): number {
  return Math.ceil((2 * count + 2) / elementSize) * elementSize;
}

/** One Uint8Array of whole elements per sub-batch in, one body out. */
export function encodeMultiBatch(elementSize: number, batches: readonly Uint8Array[]): Uint8Array {
  const trailer = new Uint8Array(trailerSize(elementSize, batches.length)).fill(0xff);
  let at = trailer.length - 2;
  writeInteger(trailer, at, 2, BigInt(batches.length));
  for (const batch of batches) {
    at -= 2;
    writeInteger(trailer, at, 2, BigInt(batch.length / elementSize));
  }
  return concat([...batches, trailer]);
}

/** The sub-batches of a body, or null when it is malformed. */
export function decodeMultiBatch(elementSize: number, body: Uint8Array): Uint8Array[] | null {
  if (body.length < 2) return null;
  const count = Number(readInteger(body, body.length - 2, 2));
  if (count === 0 || count === 65_535) return null;
  const trailer = trailerSize(elementSize, count);
  if (trailer > body.length) return null;
  const payloadSize = body.length - trailer;
  for (let at = payloadSize; at < body.length - 2 * count - 2; at += 1) {
    if (body[at] !== 0xff) return null;
  }
  const batches: Uint8Array[] = [];
  let start = 0;
  for (let i = 0; i < count; i += 1) {
    const elements = Number(readInteger(body, body.length - 4 - 2 * i, 2));
    const end = start + elements * elementSize;
    if (end > payloadSize) return null;
    batches.push(body.subarray(start, end));
    start = end;
  }
  return start === payloadSize ? batches : null;
}
