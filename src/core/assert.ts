/**
 * Assertions. They stay on in production: a broken invariant in a ledger must stop the replica
 * before it can write or acknowledge anything that rests on it. Nothing catches them.
 */

/** A broken invariant: a bug in this program, never a user's mistake. */
export class InvariantError extends Error {
  override name = "InvariantError";
}

/** `what` is a literal, so that the passing case builds no string. */
export function assert(ok: boolean, what: string): asserts ok {
  if (!ok) throw new InvariantError(what);
}

/** Marks a branch that no input can reach. */
export function unreachable(what: string): never {
  throw new InvariantError(what);
}
