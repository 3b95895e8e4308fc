/** Where files that the user names, and the project's own files, are. */
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { CommandError } from "./command-error.ts";

/** The project's folder: the nearest one above with a package.json, wherever this was compiled to. */
export const projectRoot = findProjectRoot(dirname(fileURLToPath(import.meta.url)));

function findProjectRoot(folder: string): string {
  const parent = dirname(folder);
  return existsSync(join(folder, "package.json")) || parent === folder
    ? folder
    : findProjectRoot(parent);
}

/** The built command, for starting another process of it. */
export const mainScript = join(projectRoot, "dist", "cli", "main.js");

/**
 * A path from the command line. `npm run` changes to the project's folder first and leaves the
 * folder where the user stands in INIT_CWD: a relative path means the latter.
 */
export function userPath(path: string): string {
  const fromNpmRun = process.env["npm_lifecycle_event"] === "pacioli";
  try {
    return resolve(fromNpmRun ? (process.env["INIT_CWD"] ?? ".") : ".", path);
  } catch {
    // Node asks the system where it is only for a relative path.
    throw new CommandError(
      "the folder in which you are does not exist any more; change to another.",
    );
  }
}
