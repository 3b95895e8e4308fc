/**
 * The TypeScript twin of the checksum: AEGIS-128L as a 128-bit MAC with zero key and zero nonce,
 * the input absorbed as associated data. The addon computes the same with AES instructions;
 * a property test holds the two equal.
 *
 * An AES round is four table lookups per column. The eight blocks of the state live in 32 local
 * variables, letters a–h for S0–S7 and digits for columns, so that a call allocates nothing, keeps
 * no scratch between calls, and the compiler sees plain 32-bit integers. One loop serves absorbing
 * and finishing, so that the rounds stand in the code once.
 */
import { assert } from "../core/assert.ts";

/** Bytes absorbed per update of the state. */
const chunkSize = 32;
/** Updates with the length after the input. */
const finishUpdates = 7;

/** SubBytes and MixColumns of a byte in row 0…3 of a column, as little-endian words. */
const t0 = new Int32Array(256);
const t1 = new Int32Array(256);
const t2 = new Int32Array(256);
const t3 = new Int32Array(256);
fillTables();

/** The S-box from its definition: inverse in GF(2^8), walked by the generator 3, then affine. */
function fillTables(): void {
  let power = 1;
  let inverse = 1;
  for (let count = 0; count < 255; count += 1) {
    power = (power ^ (power << 1) ^ (power & 0x80 ? 0x11b : 0)) & 255;
    inverse ^= inverse << 1;
    inverse ^= inverse << 2;
    inverse = (inverse ^ (inverse << 4)) & 255;
    if (inverse & 0x80) inverse ^= 0x09;
    const twice = inverse | (inverse << 8);
    const affine = inverse ^ (twice >> 7) ^ (twice >> 6) ^ (twice >> 5) ^ (twice >> 4);
    fillEntry(power, (affine ^ 0x63) & 255);
  }
  fillEntry(0, 0x63); // Zero has no inverse.
}

function fillEntry(input: number, output: number): void {
  const doubled = ((output << 1) ^ (output & 0x80 ? 0x11b : 0)) & 255;
  const word = doubled | (output << 8) | (output << 16) | ((doubled ^ output) << 24);
  t0[input] = word;
  t1[input] = (word << 8) | (word >>> 24);
  t2[input] = (word << 16) | (word >>> 16);
  t3[input] = (word << 24) | (word >>> 8);
}

/** Little-endian word of source[from … from + 3], zero where at or beyond `end`. */
function wordBefore(source: Uint8Array, from: number, end: number): number {
  let word = 0;
  if (from < end) word = source[from];
  if (from + 1 < end) word |= source[from + 1] << 8;
  if (from + 2 < end) word |= source[from + 2] << 16;
  if (from + 3 < end) word |= source[from + 3] << 24;
  return word;
}

function store(target: Uint8Array, at: number, word: number): void {
  target[at] = word;
  target[at + 1] = word >>> 8;
  target[at + 2] = word >>> 16;
  target[at + 3] = word >>> 24;
}

/**
 * Writes the 16 checksum bytes of source[at … at + length) to `target` at `targetAt`. The target
 * may lie inside the source range's own array: it is written last.
 */
export function checksumPortable(
  target: Uint8Array,
  targetAt: number,
  source: Uint8Array,
  at: number,
  length: number,
): void {
  assert(at >= 0 && length >= 0 && at + length <= source.length, "input lies inside its array");
  assert(targetAt >= 0 && targetAt + 16 <= target.length, "checksum lies inside its array");

  // The state after setup with zero key and nonce is a constant.
  let a0 = 0x5df4_f272 | 0;
  let a1 = 0x0242_c79e | 0;
  let a2 = 0x66aa_843e | 0;
  let a3 = 0x9235_fdae | 0;
  let b0 = 0xcd1d_0742 | 0;
  let b1 = 0xcff7_1a30 | 0;
  let b2 = 0x4a6c_7c8a | 0;
  let b3 = 0x6530_f620 | 0;
  let c0 = 0xa1a4_4ef8 | 0;
  let c1 = 0xce99_aac6 | 0;
  let c2 = 0x5c8b_1da5 | 0;
  let c3 = 0x8f05_c39c | 0;
  let d0 = 0x115e_c00f | 0;
  let d1 = 0x7510_af17 | 0;
  let d2 = 0xf319_11a4 | 0;
  let d3 = 0xd2a8_c529 | 0;
  let e0 = 0x338c_8857 | 0;
  let e1 = 0x5503_16d3 | 0;
  let e2 = 0xc835_4036 | 0;
  let e3 = 0x8679_1ef2 | 0;
  let f0 = 0x5d4b_fa48 | 0;
  let f1 = 0xc442_70d5 | 0;
  let f2 = 0xf5e9_4f08 | 0;
  let f3 = 0x44b6_0815 | 0;
  let g0 = 0xcc89_990b | 0;
  let g1 = 0x8503_0591 | 0;
  let g2 = 0x7ede_0503 | 0;
  let g3 = 0xfe8b_a9f1 | 0;
  let h0 = 0x2175_0eb3 | 0;
  let h1 = 0x8ecf_0c39 | 0;
  let h2 = 0xf64a_e9cf | 0;
  let h3 = 0xd75d_9587 | 0;

  let m0 = 0;
  let m1 = 0;
  let m2 = 0;
  let m3 = 0;
  let m4 = 0;
  let m5 = 0;
  let m6 = 0;
  let m7 = 0;
  const end = at + length;
  const updatesFull = Math.floor(length / chunkSize);
  const updatesInput = Math.ceil(length / chunkSize);
  const updates = updatesInput + finishUpdates;
  let from = at;
  for (let update = 0; update < updates; update += 1) {
    if (update < updatesFull) {
      m0 =
        source[from] |
        (source[from + 1] << 8) |
        (source[from + 2] << 16) |
        (source[from + 3] << 24);
      m1 =
        source[from + 4] |
        (source[from + 5] << 8) |
        (source[from + 6] << 16) |
        (source[from + 7] << 24);
      m2 =
        source[from + 8] |
        (source[from + 9] << 8) |
        (source[from + 10] << 16) |
        (source[from + 11] << 24);
      m3 =
        source[from + 12] |
        (source[from + 13] << 8) |
        (source[from + 14] << 16) |
        (source[from + 15] << 24);
      m4 =
        source[from + 16] |
        (source[from + 17] << 8) |
        (source[from + 18] << 16) |
        (source[from + 19] << 24);
      m5 =
        source[from + 20] |
        (source[from + 21] << 8) |
        (source[from + 22] << 16) |
        (source[from + 23] << 24);
      m6 =
        source[from + 24] |
        (source[from + 25] << 8) |
        (source[from + 26] << 16) |
        (source[from + 27] << 24);
      m7 =
        source[from + 28] |
        (source[from + 29] << 8) |
        (source[from + 30] << 16) |
        (source[from + 31] << 24);
      from += chunkSize;
    } else if (update < updatesInput) {
      m0 = wordBefore(source, from, end);
      m1 = wordBefore(source, from + 4, end);
      m2 = wordBefore(source, from + 8, end);
      m3 = wordBefore(source, from + 12, end);
      m4 = wordBefore(source, from + 16, end);
      m5 = wordBefore(source, from + 20, end);
      m6 = wordBefore(source, from + 24, end);
      m7 = wordBefore(source, from + 28, end);
    } else if (update === updatesInput) {
      // From here on every update takes the length in bits, mixed with S2.
      m0 = (length << 3) ^ c0;
      m1 = Math.floor(length / 0x2000_0000) ^ c1;
      m2 = c2;
      m3 = c3;
      m4 = m0;
      m5 = m1;
      m6 = m2;
      m7 = m3;
    }

    // From S7 down to S0, so that each round still sees its left neighbour's old value.
    const r0 = t0[h0 & 255] ^ t1[(h1 >>> 8) & 255] ^ t2[(h2 >>> 16) & 255] ^ t3[h3 >>> 24];
    const r1 = t0[h1 & 255] ^ t1[(h2 >>> 8) & 255] ^ t2[(h3 >>> 16) & 255] ^ t3[h0 >>> 24];
    const r2 = t0[h2 & 255] ^ t1[(h3 >>> 8) & 255] ^ t2[(h0 >>> 16) & 255] ^ t3[h1 >>> 24];
    const r3 = t0[h3 & 255] ^ t1[(h0 >>> 8) & 255] ^ t2[(h1 >>> 16) & 255] ^ t3[h2 >>> 24];
    h0 ^= t0[g0 & 255] ^ t1[(g1 >>> 8) & 255] ^ t2[(g2 >>> 16) & 255] ^ t3[g3 >>> 24];
    h1 ^= t0[g1 & 255] ^ t1[(g2 >>> 8) & 255] ^ t2[(g3 >>> 16) & 255] ^ t3[g0 >>> 24];
    h2 ^= t0[g2 & 255] ^ t1[(g3 >>> 8) & 255] ^ t2[(g0 >>> 16) & 255] ^ t3[g1 >>> 24];
    h3 ^= t0[g3 & 255] ^ t1[(g0 >>> 8) & 255] ^ t2[(g1 >>> 16) & 255] ^ t3[g2 >>> 24];
    g0 ^= t0[f0 & 255] ^ t1[(f1 >>> 8) & 255] ^ t2[(f2 >>> 16) & 255] ^ t3[f3 >>> 24];
    g1 ^= t0[f1 & 255] ^ t1[(f2 >>> 8) & 255] ^ t2[(f3 >>> 16) & 255] ^ t3[f0 >>> 24];
    g2 ^= t0[f2 & 255] ^ t1[(f3 >>> 8) & 255] ^ t2[(f0 >>> 16) & 255] ^ t3[f1 >>> 24];
    g3 ^= t0[f3 & 255] ^ t1[(f0 >>> 8) & 255] ^ t2[(f1 >>> 16) & 255] ^ t3[f2 >>> 24];
    f0 ^= t0[e0 & 255] ^ t1[(e1 >>> 8) & 255] ^ t2[(e2 >>> 16) & 255] ^ t3[e3 >>> 24];
    f1 ^= t0[e1 & 255] ^ t1[(e2 >>> 8) & 255] ^ t2[(e3 >>> 16) & 255] ^ t3[e0 >>> 24];
    f2 ^= t0[e2 & 255] ^ t1[(e3 >>> 8) & 255] ^ t2[(e0 >>> 16) & 255] ^ t3[e1 >>> 24];
    f3 ^= t0[e3 & 255] ^ t1[(e0 >>> 8) & 255] ^ t2[(e1 >>> 16) & 255] ^ t3[e2 >>> 24];
    e0 ^= t0[d0 & 255] ^ t1[(d1 >>> 8) & 255] ^ t2[(d2 >>> 16) & 255] ^ t3[d3 >>> 24];
    e1 ^= t0[d1 & 255] ^ t1[(d2 >>> 8) & 255] ^ t2[(d3 >>> 16) & 255] ^ t3[d0 >>> 24];
    e2 ^= t0[d2 & 255] ^ t1[(d3 >>> 8) & 255] ^ t2[(d0 >>> 16) & 255] ^ t3[d1 >>> 24];
    e3 ^= t0[d3 & 255] ^ t1[(d0 >>> 8) & 255] ^ t2[(d1 >>> 16) & 255] ^ t3[d2 >>> 24];
    d0 ^= t0[c0 & 255] ^ t1[(c1 >>> 8) & 255] ^ t2[(c2 >>> 16) & 255] ^ t3[c3 >>> 24];
    d1 ^= t0[c1 & 255] ^ t1[(c2 >>> 8) & 255] ^ t2[(c3 >>> 16) & 255] ^ t3[c0 >>> 24];
    d2 ^= t0[c2 & 255] ^ t1[(c3 >>> 8) & 255] ^ t2[(c0 >>> 16) & 255] ^ t3[c1 >>> 24];
    d3 ^= t0[c3 & 255] ^ t1[(c0 >>> 8) & 255] ^ t2[(c1 >>> 16) & 255] ^ t3[c2 >>> 24];
    c0 ^= t0[b0 & 255] ^ t1[(b1 >>> 8) & 255] ^ t2[(b2 >>> 16) & 255] ^ t3[b3 >>> 24];
    c1 ^= t0[b1 & 255] ^ t1[(b2 >>> 8) & 255] ^ t2[(b3 >>> 16) & 255] ^ t3[b0 >>> 24];
    c2 ^= t0[b2 & 255] ^ t1[(b3 >>> 8) & 255] ^ t2[(b0 >>> 16) & 255] ^ t3[b1 >>> 24];
    c3 ^= t0[b3 & 255] ^ t1[(b0 >>> 8) & 255] ^ t2[(b1 >>> 16) & 255] ^ t3[b2 >>> 24];
    b0 ^= t0[a0 & 255] ^ t1[(a1 >>> 8) & 255] ^ t2[(a2 >>> 16) & 255] ^ t3[a3 >>> 24];
    b1 ^= t0[a1 & 255] ^ t1[(a2 >>> 8) & 255] ^ t2[(a3 >>> 16) & 255] ^ t3[a0 >>> 24];
    b2 ^= t0[a2 & 255] ^ t1[(a3 >>> 8) & 255] ^ t2[(a0 >>> 16) & 255] ^ t3[a1 >>> 24];
    b3 ^= t0[a3 & 255] ^ t1[(a0 >>> 8) & 255] ^ t2[(a1 >>> 16) & 255] ^ t3[a2 >>> 24];
    a0 ^= r0 ^ m0;
    a1 ^= r1 ^ m1;
    a2 ^= r2 ^ m2;
    a3 ^= r3 ^ m3;
    e0 ^= m4;
    e1 ^= m5;
    e2 ^= m6;
    e3 ^= m7;
  }

  store(target, targetAt, a0 ^ b0 ^ c0 ^ d0 ^ e0 ^ f0 ^ g0);
  store(target, targetAt + 4, a1 ^ b1 ^ c1 ^ d1 ^ e1 ^ f1 ^ g1);
  store(target, targetAt + 8, a2 ^ b2 ^ c2 ^ d2 ^ e2 ^ f2 ^ g2);
  store(target, targetAt + 12, a3 ^ b3 ^ c3 ^ d3 ^ e3 ^ f3 ^ g3);
}
