/**
 * A mistake of the user's or of the environment's: the command prints `message` as one sentence
 * and exits with 1. Everything else that is thrown is a bug and is printed with its stack.
 */
export class CommandError extends Error {
  override name = "CommandError";
}
