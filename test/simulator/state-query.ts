/** Asks a replica's state machine directly, outside of the log: for the last comparison of a seed. */
import { assert } from "../../src/core/assert.ts";
import { messageSizeMax } from "../../src/core/limits.ts";
import { type Place, PlaceState } from "./place.ts";

const reply = new Uint32Array(messageSizeMax / 4);
const replyBytes = new Uint8Array(reply.buffer);

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
    let ready = stateMachine.prefetch(
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
