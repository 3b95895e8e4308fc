/**
 * Every view has one log: what its primary chose to begin with, and what it added. Replicas that have the
 * log of a view hold the same prepare as op n, long before it is committed; one that holds another
 * may acknowledge what is not the log's, or bring back in the next view what a view change has cut off.
 *
 *   log of view v:  … prepares of older views │ prepares of view v …
 *                                             ▲ where the view began
 *
 * Heard from: `view` messages, acknowledgements, what is journaled, and the logs told for the next
 * view; of these only what may still be uncommitted, since below that a replica may remember another log.
 */
import { u64ReadNumber } from "../../../src/core/u128.ts";
import { Command, frame, prepareHeader } from "../../../src/wire/header.ts";
import { joinViewHeader, prepareOkHeader, viewHeader } from "../../../src/wire/replica-headers.ts";
import type { Fail } from "./history.ts";

const headerSize = 256;
const headerWords = headerSize / 4;
const checkpointStateWords = 256;

/** Ops are far fewer. */
const opsMax = 2 ** 24;

export class ViewLogs {
  /** Checksum by log view and op. */
  private readonly checksums = new Map<number, number>();
  /** Per view: the highest op of an older view in its log, once its primary has told; undefined before. */
  private readonly begins: number[] = [];

  constructor(private readonly fail: Fail) {}

  /** A replica has heard this from another one. */
  told(bytes: Uint8Array, words: Uint32Array): void {
    const replica = bytes[frame.at.replica]!;
    const view = words[frame.word.view]!;
    switch (bytes[frame.at.command]) {
      case Command.view:
        if (words[viewHeader.word.checkpointOnly] !== 1) this.began(replica, view, words);
        break;
      case Command.joinView:
        this.joined(replica, words);
        break;
      case Command.prepareOk: {
        const op = u64ReadNumber(words, prepareOkHeader.word.op);
        this.holds(replica, view, op, words, prepareOkHeader.word.prepareChecksum);
        break;
      }
    }
  }

  /** A replica that has the log of `logView` writes a prepare of it to its journal. */
  written(replica: number, logView: number, words: Uint32Array): void {
    this.hasHeader(replica, logView, words, 0);
  }

  private began(replica: number, view: number, words: Uint32Array): void {
    let begins = -1;
    for (
      let at = headerWords + checkpointStateWords;
      at < words[frame.word.size]! / 4;
      at += headerWords
    ) {
      // Highest op first.
      if (begins === -1 && words[at + frame.word.view]! < view) {
        begins = u64ReadNumber(words, at + prepareHeader.word.op);
        this.begins[view] ??= begins;
      }
      this.hasHeader(replica, view, words, at);
    }
  }

  private joined(replica: number, words: Uint32Array): void {
    const logView = words[joinViewHeader.word.logView]!;
    const commitMax = u64ReadNumber(words, joinViewHeader.word.commitMax);
    for (let at = headerWords; at < words[frame.word.size]! / 4; at += headerWords) {
      const blank =
        words[at + frame.word.checksum] === 0 && words[at + frame.word.checksum + 1] === 0;
      if (blank || u64ReadNumber(words, at + prepareHeader.word.op) <= commitMax) continue;
      this.hasHeader(replica, logView, words, at);
    }
  }

  /** The replica has a prepare with this header in its log of `logView`. */
  private hasHeader(replica: number, logView: number, words: Uint32Array, at: number): void {
    const op = u64ReadNumber(words, at + prepareHeader.word.op);
    const view = words[at + frame.word.view]!;
    const begins = this.begins[logView] ?? Number.POSITIVE_INFINITY;
    if (view > logView || (view < logView && op > begins)) {
      const what = `replica ${replica} has op ${op} of view ${view} in the log of view ${logView}`;
      this.fail(view > logView ? what : `${what}, which began after op ${begins}`);
    }
    this.holds(replica, logView, op, words, at + frame.word.checksum);
  }

  private holds(
    replica: number,
    logView: number,
    op: number,
    words: Uint32Array,
    at: number,
  ): void {
    const key = logView * opsMax + op;
    const checksum = words[at]! + (words[at + 1]! & 0x1fffff) * 2 ** 32;
    const known = this.checksums.get(key);
    if (known === undefined) this.checksums.set(key, checksum);
    else if (known !== checksum) {
      this.fail(
        `replica ${replica} has another op ${op} in the log of view ${logView} than others`,
      );
    }
  }
}
