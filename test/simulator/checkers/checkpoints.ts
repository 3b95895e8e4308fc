/**
 * Replicas are physically deterministic: at the same checkpoint they hold the same bytes at the
 * same addresses. The id of a checkpoint covers the references, with checksums, to all that it
 * consists of; so one op has one id.
 *
 * The prepares say it too: each carries the id of a checkpoint of its past, which must be the one
 * that was observed.
 */
import type { Fail } from "./history.ts";
import { hex, type ObservedPrepare } from "./prepare.ts";

const noCheckpoint = "0".repeat(32);

export class Checkpoints {
  /** Id per op. */
  private readonly ids = new Map<number, string>();
  private readonly ops = new Map<string, number>();
  /** The id that prepares name now, the first op that did, and the ids named before. */
  private named = noCheckpoint;
  private namedBy = 0;
  private readonly namedBefore = new Set<string>();

  constructor(private readonly fail: Fail) {}

  /** A checkpoint is durable on a replica, made by itself or taken over. */
  durable(replica: number, op: number, id: Uint32Array): void {
    const text = hex(new Uint8Array(id.buffer, id.byteOffset, 16), 0);
    const known = this.ids.get(op);
    if (known !== undefined && known !== text) {
      this.fail(`replica ${replica} has checkpoint ${text} at op ${op}, others have ${known}`);
    }
    this.ids.set(op, text);
    this.ops.set(text, op);
    if (text === this.named) this.compareNamed();
  }

  /** An op is executed for the first time: the checkpoint that it names is one of its past. */
  executed(prepare: ObservedPrepare): void {
    const { op, checkpointId } = prepare;
    if (checkpointId === this.named) return;
    if (this.namedBefore.has(checkpointId)) {
      this.fail(`op ${op} names checkpoint ${checkpointId}, and op ${op - 1} a later one`);
    }
    this.namedBefore.add(this.named);
    this.named = checkpointId;
    this.namedBy = op;
    this.compareNamed();
  }

  /** The id named is that of an observed checkpoint below the op, once it has been observed. */
  private compareNamed(): void {
    const at = this.ops.get(this.named);
    if (at !== undefined && at >= this.namedBy) {
      this.fail(`op ${this.namedBy} names the checkpoint of op ${at}`);
    }
  }

  /** In the end every checkpoint that was named must be one that a replica has made. */
  finish(): void {
    for (const id of [...this.namedBefore, this.named]) {
      if (id !== noCheckpoint && !this.ops.has(id)) this.fail(`nobody has made checkpoint ${id}`);
    }
  }
}
