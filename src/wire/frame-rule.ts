/** What holds for the frame of every message, whatever its command (protocol/wire.md §3). */
import { u128IsZero } from "../core/u128.ts";
import { frame } from "./header.ts";

/** @param word - Index of the header's first word. */
export function frameRuleHolds(words: Uint32Array, word: number): boolean {
  if (!u128IsZero(words, word + frame.word.checksumPadding)) return false;
  if (!u128IsZero(words, word + frame.word.checksumBodyPadding)) return false;
  if (!u128IsZero(words, word + frame.word.nonceReserved)) return false;
  if (words[word + frame.word.epoch] !== 0) return false;
  if ((words[word + frame.word.protocol]! & 0xffff) !== 0) return false;
  return zeroWords(words, word + frame.word.reservedFrame, 3);
}

export function zeroWords(words: Uint32Array, at: number, count: number): boolean {
  let any = 0;
  for (let index = at; index < at + count; index += 1) any |= words[index]!;
  return any === 0;
}
