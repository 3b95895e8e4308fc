/**
 * What a replica has told others of its view is on its disk: whatever becomes of the process, it is
 * never again in an older view, nor has it an older log. A vote that its sender forgets elects
 * somebody whom the sender then works against.
 *
 * A message counts once it has arrived. A replica whose disk was lost has promised nothing that it could keep.
 */
import { Command, frame } from "../../../src/wire/header.ts";
import { joinViewHeader, viewHeader } from "../../../src/wire/replica-headers.ts";
import type { Fail } from "./history.ts";

export class PromisedViews {
  private readonly views: number[] = [];
  private readonly logViews: number[] = [];
  private readonly lost = new Set<number>();

  constructor(private readonly fail: Fail) {}

  /** A replica has heard this from another one. */
  told(bytes: Uint8Array, words: Uint32Array): void {
    const view = words[frame.word.view]!;
    let logView = 0;
    switch (bytes[frame.at.command]) {
      case Command.exitView:
      case Command.commit:
        break;
      case Command.joinView:
        logView = words[joinViewHeader.word.logView]!;
        break;
      case Command.prepareOk:
        logView = view;
        break;
      case Command.view:
        if (words[viewHeader.word.checkpointOnly] === 1) return;
        logView = view;
        break;
      default:
        return;
    }
    const replica = bytes[frame.at.replica]!;
    this.views[replica] = Math.max(this.views[replica] ?? 0, view);
    this.logViews[replica] = Math.max(this.logViews[replica] ?? 0, logView);
  }

  /** A replica starts with what its disk says. */
  started(replica: number, view: number, logView: number): void {
    if (this.lost.has(replica)) return;
    const told = this.views[replica] ?? 0;
    const toldLog = this.logViews[replica] ?? 0;
    if (view < told) {
      this.fail(`replica ${replica} starts in view ${view}, and has taken part in view ${told}`);
    }
    if (logView < toldLog) {
      this.fail(
        `replica ${replica} starts with the log of view ${logView}, and has told of that of view ${toldLog}`,
      );
    }
  }

  diskLost(replica: number): void {
    this.lost.add(replica);
  }
}
