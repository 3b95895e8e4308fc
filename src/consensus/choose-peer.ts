/** Which of the other replicas to ask for something that all may have. */
import { unreachable } from "../core/assert.ts";
import type { Prng } from "../core/prng.ts";

/**
 * Some other replica that is no standby; not the one that did not help the last time, if there is
 * yet another.
 */
export function choosePeer(
  options: { readonly prng: Prng; readonly replica: number; readonly replicaCount: number },
  last: number,
): number {
  const { prng, replica, replicaCount } = options;
  const others = replica < replicaCount ? replicaCount - 1 : replicaCount;
  const exclude = last !== -1 && others > 1;
  let choice = prng.below(others - (exclude ? 1 : 0));
  for (let peer = 0; peer < replicaCount; peer += 1) {
    if (peer === replica || (exclude && peer === last)) continue;
    if (choice === 0) return peer;
    choice -= 1;
  }
  unreachable("there are others");
}
