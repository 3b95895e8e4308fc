/** Where files that the user names, and the project's own files, are. */
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The project's folder: src/cli and dist/cli lie equally deep. */
export const projectRoot = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** The built command, for starting another process of it. */
export const mainScript = join(projectRoot, "dist", "cli", "main.js");

/**
 * A path from the command line. `npm run` changes to the project's folder first and leaves the
 * folder where the user stands in INIT_CWD: a relative path means the latter.
 */
export function userPath(path: string): string {
  const fromNpmRun = process.env["npm_lifecycle_event"] === "pacioli";
  return resolve(fromNpmRun ? (process.env["INIT_CWD"] ?? ".") : ".", path);
}
