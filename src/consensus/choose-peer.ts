/** Which of the other replicas to ask for something that all may have. */
import { unreachable } from "../core/assert.ts";
import type { Prng } from "../core/prng.ts";

/** Some other replica; not the one that did not help the last time, if there is a third. */
export function choosePeer(
  options: { readonly prng: Prng; readonly replica: number; readonly replicaCount: number },
  last: number,
): number {
  const { prng, replica, replicaCount } = options;
  const exclude = last !== -1 && replicaCount > 2;
  let choice = prng.below(replicaCount - (exclude ? 2 : 1));
  for (let peer = 0; peer < replicaCount; peer += 1) {
    if (peer === replica || (exclude && peer === last)) continue;
    if (choice === 0) return peer;
    choice -= 1;
  }
  unreachable("there are others");
}
