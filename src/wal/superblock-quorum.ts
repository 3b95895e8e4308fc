/**
 * Which superblock is the file's, from its four copies: the highest sequence of which at least two
 * valid, identical copies exist. Pure.
 *
 * An update writes the copies one after the other, so a crash leaves at most two sequences, n and
 * n + 1, and at least two copies of one of them. Anything else is damage, or a mixture of files:
 * copies of one sequence that differ, a lone copy more than one ahead of the quorum (the others'
 * later writes were lost), or neighbours in sequence that are not parent and child. Then nobody
 * can tell which state was acknowledged, and we refuse to guess.
 */
import { DataFileError, DataFileErrorCode } from "../core/data-file-error.ts";
import { u128Equal } from "../core/u128.ts";
import { formatVersion, superblockCopies, superblockCopySize } from "./data-file.ts";
import type { Memory } from "./headers.ts";
import {
  CopyFault,
  checkSuperblockCopy,
  copyFaultText,
  superblockLayout,
  superblockSequence,
} from "./superblock-layout.ts";

/** Copies that must agree when opening, and that must verify after an update. */
export const superblockOpenQuorum = 2;
export const superblockUpdateQuorum = 3;

export interface SuperblockChoice {
  readonly error: DataFileError | null;
  /** A copy with the chosen content; −1 with an error. */
  readonly winner: number;
  /** Copies that do not carry it: broken, or left behind by a crash. To be rewritten. */
  readonly rewrite: readonly number[];
  /** Per copy. */
  readonly faults: readonly CopyFault[];
}

const copyWords = superblockCopySize / 4;
const word = superblockLayout.word;

/**
 * @param copies - The copies one after the other, each `superblockCopySize` bytes.
 * @param unreadable - Per copy: its read failed.
 */
export function chooseSuperblock(copies: Memory, unreadable: readonly boolean[]): SuperblockChoice {
  const faults: CopyFault[] = [];
  for (let copy = 0; copy < superblockCopies; copy += 1) {
    if (unreadable[copy]) faults.push(CopyFault.unreadable);
    else faults.push(checkSuperblockCopy(copies, copy * superblockCopySize, copy));
  }
  const refuse = (code: DataFileErrorCode, text: string): SuperblockChoice => {
    return { error: new DataFileError(code, text), winner: -1, rewrite: [], faults };
  };

  const valid = allCopies.filter((copy) => faults[copy] === CopyFault.none);
  const sequenceOf = (copy: number): number => superblockSequence(copies.words, copy * copyWords);
  const same = (a: number, b: number): boolean => {
    return u128Equal(copies.words, a * copyWords, copies.words, b * copyWords);
  };

  for (const a of valid) {
    for (const b of valid) {
      if (a >= b || sequenceOf(a) !== sequenceOf(b) || same(a, b)) continue;
      const text = `Superblock copies ${a} and ${b} contradict each other (both have sequence ${sequenceOf(a)}).`;
      return refuse(DataFileErrorCode.superblock, text);
    }
  }

  let winner = -1;
  for (const copy of valid) {
    const count = valid.filter((other) => same(other, copy)).length;
    if (count < superblockOpenQuorum) continue;
    if (winner === -1 || sequenceOf(copy) > sequenceOf(winner)) winner = copy;
  }
  if (winner === -1) {
    const foreign = foreignFile(copies, faults);
    if (foreign !== null) return { error: foreign, winner, rewrite: [], faults };
    return refuse(DataFileErrorCode.superblock, textNoQuorum(faults, valid, sequenceOf));
  }

  for (const copy of valid) {
    const ahead = sequenceOf(copy) - sequenceOf(winner);
    if (ahead === 0) continue;
    const broken =
      ahead > 1 ||
      (ahead === 1 && !isChild(copies.words, copy, winner)) ||
      (ahead === -1 && !isChild(copies.words, winner, copy));
    if (!broken) continue;
    const text = `Superblock copy ${copy} (sequence ${sequenceOf(copy)}) does not belong to the history of the others (sequence ${sequenceOf(winner)}).`;
    return refuse(DataFileErrorCode.superblock, text);
  }
  const rewrite = allCopies.filter((copy) => !valid.includes(copy) || !same(copy, winner));
  return { error: null, winner, rewrite, faults };
}

/** Which copies are rewritten and why, for the operator; null when none is. */
export function rewriteNote(choice: SuperblockChoice): RewriteNote | null {
  if (choice.rewrite.length === 0) return null;
  const damaged = choice.rewrite.some((copy) => choice.faults[copy] !== CopyFault.none);
  const parts = choice.rewrite.map((copy) => {
    const fault = choice.faults[copy]!;
    const what = fault === CopyFault.none ? leftBehindText : copyFaultText(fault);
    return `superblock copy ${copy} ${what}`;
  });
  return { text: `${parts.join(", ")}: rewritten from the others`, damaged };
}

export interface RewriteNote {
  readonly text: string;
  /** Not merely left behind. */
  readonly damaged: boolean;
}

/** A copy of the sequence before, which a crash leaves. */
export const leftBehindText = "is left behind by an interrupted update";

const allCopies: readonly number[] = Array.from({ length: superblockCopies }, (_, copy) => copy);

function isChild(words: Uint32Array, child: number, parent: number): boolean {
  return u128Equal(words, child * copyWords + word.parent, words, parent * copyWords);
}

/** Tells a file that is not ours, or of another version, from a damaged one. */
function foreignFile(copies: Memory, faults: readonly CopyFault[]): DataFileError | null {
  const noMagic = faults.filter((fault) => fault === CopyFault.magic).length;
  const unreadable = faults.filter((fault) => fault === CopyFault.unreadable).length;
  if (noMagic > 0 && noMagic + unreadable === superblockCopies) {
    const text = "This is not a Pacioli data file: no superblock begins as it should.";
    return new DataFileError(DataFileErrorCode.notDataFile, text);
  }
  for (const copy of allCopies) {
    if (faults[copy] !== CopyFault.version) continue;
    const version = copies.words[copy * copyWords + word.formatVersion]!;
    const agreeing = allCopies.filter((other) => {
      return (
        faults[other] === CopyFault.version &&
        copies.words[other * copyWords + word.formatVersion] === version
      );
    });
    if (agreeing.length < superblockOpenQuorum) continue;
    const text = `The data file has format version ${version}, this program reads ${formatVersion}.`;
    return new DataFileError(DataFileErrorCode.formatVersion, text);
  }
  return null;
}

function textNoQuorum(
  faults: readonly CopyFault[],
  valid: readonly number[],
  sequenceOf: (copy: number) => number,
): string {
  const parts = allCopies.map((copy) => {
    if (valid.includes(copy)) return `copy ${copy} alone has sequence ${sequenceOf(copy)}`;
    return `copy ${copy} ${copyFaultText(faults[copy]!)}`;
  });
  return `No two superblock copies agree: ${parts.join(", ")}.`;
}
