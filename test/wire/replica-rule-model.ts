/**
 * The rules of messages between replicas once more, from the comments of replica-headers.ts and
 * header.ts, for tests to compare with: numbers are bigints, places are written out, and nothing
 * but the checksum function is shared.
 */
import { checksum } from "../../src/native/checksum.ts";
import { headersMax } from "../../src/wire/replica-headers.ts";
import { hex } from "./bytes.ts";

const safe = 2n ** 53n;

function zero(bytes: Uint8Array, from: number, to: number): boolean {
  return bytes.subarray(from, to).every((byte) => byte === 0);
}

function u64(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true);
}

function u32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
}

function frameHolds(b: Uint8Array): boolean {
  return (
    zero(b, 16, 32) &&
    zero(b, 48, 80) &&
    zero(b, 100, 104) &&
    zero(b, 112, 114) &&
    zero(b, 116, 128)
  );
}

function fromClients(operation: number): boolean {
  return operation === 2 || operation === 6 || (operation >= 129 && operation <= 147);
}

/** One header of a prepare. */
function prepareHeaderHolds(b: Uint8Array, inBody: boolean): boolean {
  const size = u32(b, 96);
  const op = u64(b, 224);
  const operation = b[252]!;
  const requests = b[253]!;
  if (!frameHolds(b) || size < 256 || size > 2 ** 20 || b[115]! > 5) return false;
  if (!zero(b, 144, 160) || !zero(b, 176, 192) || !zero(b, 254, 256)) return false;
  const nobody = zero(b, 108, 112) && zero(b, 160, 176) && zero(b, 208, 224) && zero(b, 248, 252);
  if (operation === 1) {
    if (!inBody || !nobody) return false;
    const blank = zero(b, 104, 108) && zero(b, 128, 144) && zero(b, 192, 208) && zero(b, 224, 248);
    return blank && b[115] === 0 && requests === 0;
  }
  if (op >= safe || u64(b, 232) >= op) return false;
  if (u64(b, 240) === 0n || u64(b, 240) >= 2n ** 63n) return false;
  if (operation === 4) return nobody && requests === 1 && size === 256;
  if (operation === 8) {
    return nobody && requests >= 2 && requests <= 64 && size >= 256 + 64 * requests;
  }
  if (!fromClients(operation) || requests !== 1) return false;
  if (zero(b, 108, 112) || zero(b, 208, 224)) return false;
  if (operation === 2) return zero(b, 248, 252) && size === 512;
  return !zero(b, 248, 252) && (operation !== 6 || size === 256);
}

function tableHolds(b: Uint8Array): boolean {
  const requests = b[253]!;
  const tableAt = b.length - 64 * requests;
  if (b.length % 4 !== 0) return false;
  let bodies = 0;
  for (let at = tableAt; at < b.length; at += 64) {
    const operation = b[at + 52]!;
    if (!fromClients(operation) || operation === 2 || !zero(b, at + 53, at + 64)) return false;
    if (zero(b, at + 16, at + 32) || u64(b, at + 32) === 0n) return false;
    if (u32(b, at + 40) === 0 || u32(b, at + 44) === 0 || u32(b, at + 48) % 4 !== 0) return false;
    bodies += u32(b, at + 48);
  }
  return 256 + bodies === tableAt;
}

function bodyHeaderHolds(b: Uint8Array, header: Uint8Array): boolean {
  const sum = new Uint8Array(16);
  checksum(sum, 0, header, 16, 240);
  if (hex(sum) !== hex(header.subarray(0, 16)) || header[114] !== 6) return false;
  if (hex(header.subarray(80, 96)) !== hex(b.subarray(80, 96))) return false;
  return prepareHeaderHolds(header, true);
}

function headersOf(b: Uint8Array, from: number): Uint8Array[] {
  const list: Uint8Array[] = [];
  for (let at = from; at < b.length; at += 256) list.push(b.subarray(at, at + 256));
  return list;
}

function joinHolds(b: Uint8Array): boolean {
  const list = headersOf(b, 256);
  const [op, commitMin, commitMax, checkpoint] = [128, 136, 144, 152].map((at) => u64(b, at));
  if (list.length < 1 || list.length > 9 || b.length % 256 !== 0) return false;
  if (op! >= safe || commitMax! >= safe || !zero(b, 172, 256)) return false;
  if (checkpoint! > commitMin! || commitMin! > commitMax! || commitMax! > op!) return false;
  if (u32(b, 160) >= u32(b, 104)) return false;
  const present = BigInt(u32(b, 164));
  const nack = BigInt(u32(b, 168));
  if (present >> BigInt(list.length) !== 0n || nack >> BigInt(list.length) !== 0n) return false;
  if ((present & nack) !== 0n) return false;
  return list.every((header, index) => {
    if (u64(header, 224) !== op! - BigInt(index)) return false;
    const blank = zero(header, 0, 224) && zero(header, 232, 256);
    if (blank) return ((present >> BigInt(index)) & 1n) === 0n;
    return bodyHeaderHolds(b, header);
  });
}

function viewHolds(b: Uint8Array): boolean {
  const [op, commitMax, checkpoint] = [144, 152, 160].map((at) => u64(b, at));
  if (b.length % 256 !== 0 || b.length < 1536 || b.length > 1280 + 11 * 256) return false;
  if (
    op! >= safe ||
    commitMax! > op! ||
    checkpoint! > commitMax! ||
    b[168]! > 1 ||
    !zero(b, 169, 256)
  ) {
    return false;
  }
  return headersOf(b, 1280).every(
    (header, index) => bodyHeaderHolds(b, header) && u64(header, 224) === op! - BigInt(index),
  );
}

function headersMessageHolds(b: Uint8Array): boolean {
  const list = headersOf(b, 256);
  if (b.length % 256 !== 0 || list.length < 1 || list.length > headersMax) return false;
  if (!zero(b, 128, 256) || !list.every((header) => bodyHeaderHolds(b, header))) return false;
  return list.every((header, at) => at === 0 || u64(header, 224) < u64(list[at - 1]!, 224));
}

function getBlocksHold(b: Uint8Array): boolean {
  const count = (b.length - 256) / 32;
  if (![1, 2, 3, 4].includes(count) || !zero(b, 128, 256)) return false;
  for (let at = 256; at < b.length; at += 32) {
    const address = u64(b, at + 16);
    if (address === 0n || address >= safe || !zero(b, at + 24, at + 32)) return false;
  }
  return true;
}

/**
 * Whether the message `b`, of its whole size, may pass between replicas. The frame's checksums,
 * command, size and cluster, and the rules of all frames, are checked elsewhere.
 */
export function replicaRuleModel(b: Uint8Array): boolean {
  const command = b[114]!;
  if (b[107]! >= 0x80) return false;
  if (command === 6) {
    if (!prepareHeaderHolds(b, false)) return false;
    return b[252] !== 8 || tableHolds(b);
  }
  if (!zero(b, 108, 112) || b[115]! >= 12) return false;
  const alone = b.length === 256;
  switch (command) {
    case 1:
      if (b[176]! < 1 || b[176]! > 6 || b[177]! > 1) return false;
      return alone && u64(b, 144) < safe && zero(b, 178, 256);
    case 2:
      return alone && zero(b, 144, 256);
    case 7: {
      const [op, commitMin, checkpoint] = [144, 152, 160].map((at) => u64(b, at));
      if (op! < 1n || op! >= safe || commitMin! >= safe || checkpoint! > commitMin!) return false;
      return alone && zero(b, 168, 256);
    }
    case 9: {
      const [commit, checkpoint] = [u64(b, 144), u64(b, 152)];
      return alone && commit < safe && checkpoint <= commit && zero(b, 176, 256);
    }
    case 10:
      return alone && zero(b, 128, 256);
    case 11:
      return joinHolds(b);
    case 13:
      return alone && !zero(b, 128, 144) && b[144]! <= 1 && zero(b, 145, 256);
    case 14:
      return alone && u64(b, 128) <= u64(b, 136) && u64(b, 136) < safe && zero(b, 144, 256);
    case 15:
      return alone && u64(b, 144) >= 1n && u64(b, 144) < safe && zero(b, 152, 256);
    case 16: {
      if (!alone || zero(b, 144, 160) || !zero(b, 168, 256)) return false;
      return u64(b, 160) >= 1n && u64(b, 160) < safe;
    }
    case 17:
      return headersMessageHolds(b);
    case 19:
      return getBlocksHold(b);
    case 20:
      return (
        (alone || b.length === 256 + 65_536) &&
        u64(b, 144) >= 1n &&
        u64(b, 144) < safe &&
        zero(b, 152, 256)
      );
    case 24:
      return viewHolds(b);
    default:
      return false;
  }
}
