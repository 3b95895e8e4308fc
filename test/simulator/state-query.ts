/** Asks a replica's state machine directly, outside of the log: for the last comparison of a seed. */
import { assert } from "../../src/core/assert.ts";
import { messageSizeMax } from "../../src/core/limits.ts";
import { StateMachine } from "../../src/ledger/state-machine.ts";
import { type Place, PlaceState } from "./place.ts";

const reply = new Uint32Array(messageSizeMax / 4);
const replyBytes = new Uint8Array(reply.buffer);

/**
 * From now on the replica executes nothing more. A query may wait for the disk, or for another replica
 * when a block has rotted; meanwhile a pulse would change the state that is compared.
 */
export function holdLog(place: Place): void {
  place.parts!.stateMachine.prefetch = () => false;
}

export class StateQuery {
  /** @param advance - Lets simulated time go on: a query may read from disk. */
  constructor(
    private readonly place: Place,
    private readonly advance: () => boolean,
  ) {}

  /** The reply's body, valid until the next query. */
  run(operation: number, body: Uint8Array): Uint8Array {
    assert(this.place.state === PlaceState.up, "a running replica is asked");
    const { stateMachine } = this.place.parts!;
    const bytes = new Uint8Array(Math.ceil(Math.max(16, body.length) / 16) * 16);
    bytes.set(body);
    const words = new Uint32Array(bytes.buffer);
    let ready = StateMachine.prototype.prefetch.call(
      stateMachine,
      operation,
      0,
      0x7000_0000,
      words,
      bytes,
      0,
      body.length,
      reply,
      replyBytes,
      0,
      () => {
        ready = true;
      },
    );
    while (!ready) {
      assert(this.advance(), "a query is waiting for something");
    }
    return replyBytes.subarray(0, stateMachine.commit());
  }
}
