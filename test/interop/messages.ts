/**
 * Messages of the client protocol built and read by hand, from the tables of protocol/wire.md:
 * for tests that send what no well-behaved client would. Only the checksum comes from src/.
 */
import { checksum } from "../../src/native/checksum.ts";
import { readInteger, writeInteger } from "../reference/codec.ts";

export const headerSize = 256;
export const messageSizeMax = 1_048_576;
export const release = 0x1109;

export const command = {
  pingClient: 3,
  pongClient: 4,
  request: 5,
  reply: 8,
  eviction: 18,
} as const;

/** Offsets, of the frame and of each client-facing command. */
export const at = {
  checksum: 0,
  checksumBody: 32,
  cluster: 80,
  size: 96,
  epoch: 100,
  view: 104,
  release: 108,
  protocol: 112,
  command: 114,
  replica: 115,
  request: {
    parent: 128,
    client: 160,
    session: 176,
    timestamp: 184,
    request: 192,
    operation: 196,
    latency: 200,
    reserved: 204,
  },
  reply: {
    requestChecksum: 128,
    context: 160,
    client: 192,
    op: 208,
    commit: 216,
    timestamp: 224,
    request: 232,
    operation: 236,
  },
  ping: { client: 128, monotonic: 144, session: 152 },
  eviction: { client: 128, reason: 255 },
} as const;

export interface RequestFields {
  readonly cluster?: bigint;
  readonly view?: number;
  readonly release?: number;
  readonly parent?: Uint8Array;
  readonly client: bigint;
  readonly session: bigint;
  readonly request: number;
  readonly operation: number;
  readonly timestamp?: bigint;
  readonly body?: Uint8Array;
}

/** A sealed request. */
export function makeRequest(fields: RequestFields): Uint8Array {
  const body = fields.body ?? new Uint8Array(0);
  const message = new Uint8Array(headerSize + body.length);
  message.set(body, headerSize);
  writeInteger(message, at.cluster, 16, fields.cluster ?? 0n);
  writeInteger(message, at.size, 4, BigInt(message.length));
  writeInteger(message, at.view, 4, BigInt(fields.view ?? 0));
  writeInteger(message, at.release, 4, BigInt(fields.release ?? release));
  message[at.command] = command.request;
  if (fields.parent !== undefined) message.set(fields.parent, at.request.parent);
  writeInteger(message, at.request.client, 16, fields.client);
  writeInteger(message, at.request.session, 8, fields.session);
  writeInteger(message, at.request.timestamp, 8, fields.timestamp ?? 0n);
  writeInteger(message, at.request.request, 4, BigInt(fields.request));
  message[at.request.operation] = fields.operation;
  return seal(message);
}

export function makePing(client: bigint, session: bigint, fields: { release?: number } = {}) {
  const message = new Uint8Array(headerSize);
  writeInteger(message, at.size, 4, BigInt(headerSize));
  writeInteger(message, at.release, 4, BigInt(fields.release ?? release));
  message[at.command] = command.pingClient;
  writeInteger(message, at.ping.client, 16, client);
  writeInteger(message, at.ping.monotonic, 8, 0x1234_5678_9abcn);
  writeInteger(message, at.ping.session, 8, session);
  return seal(message);
}

/** Sets both checksums, whatever the size field says. */
export function seal(message: Uint8Array): Uint8Array {
  checksum(message, at.checksumBody, message, headerSize, message.length - headerSize);
  return sealHeader(message);
}

/** Sets the header's checksum alone. */
export function sealHeader(message: Uint8Array): Uint8Array {
  checksum(message, at.checksum, message, 16, headerSize - 16);
  return message;
}

/** A copy with one integer changed, sealed again. */
export function withField(
  message: Uint8Array,
  offset: number,
  size: number,
  value: bigint,
): Uint8Array {
  const copy = message.slice();
  writeInteger(copy, offset, size, value);
  return seal(copy);
}

export function bodyOf(message: Uint8Array): Uint8Array {
  return message.subarray(headerSize);
}

export function field(message: Uint8Array, offset: number, size: number): bigint {
  return readInteger(message, offset, size);
}

/** What is wrong with a message from the server, or null: checksums, size, zero fields. */
export function faultOf(message: Uint8Array): string | null {
  const expected = new Uint8Array(16);
  checksum(expected, 0, message, 16, headerSize - 16);
  if (!equalBytes(expected, message.subarray(0, 16))) return "header checksum";
  checksum(expected, 0, message, headerSize, message.length - headerSize);
  if (!equalBytes(expected, message.subarray(32, 48))) return "body checksum";
  if (field(message, 16, 16) !== 0n) return "checksum_padding";
  if (field(message, 48, 16) !== 0n) return "checksum_body_padding";
  if (field(message, 64, 16) !== 0n) return "nonce_reserved";
  if (field(message, at.epoch, 4) !== 0n) return "epoch";
  if (field(message, at.protocol, 2) !== 0n) return "protocol";
  if (field(message, 116, 12) !== 0n) return "reserved_frame";
  if (field(message, at.release, 4) === 0n) return "release";
  if (message[at.replica]! >= 6) return "replica";
  return null;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
