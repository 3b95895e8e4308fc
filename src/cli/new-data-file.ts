/** What making a data file takes, be it of a new cluster or in the place of one that is lost. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { CommandError } from "./command-error.ts";
import { formatDataFile } from "./format-file.ts";
import { userPath } from "./paths.ts";

/** Values of the options that say which cluster the file belongs to. */
export interface ClusterValues {
  readonly cluster: bigint;
  readonly "replica-count": number;
  readonly development: boolean;
  readonly "clients-max": number | undefined;
}

/**
 * @param recovering - The file replaces a lost one of a cluster that goes on.
 * @returns The file's path.
 * @throws {CommandError} or {DataFileError}; nothing is left behind then.
 */
export async function makeDataFile(
  file: string,
  values: ClusterValues,
  replica: number,
  recovering = false,
): Promise<string> {
  const path = userPath(file);
  checkNewFile(path);
  await formatDataFile({
    path,
    cluster: values.cluster,
    replica,
    replicaCount: values["replica-count"],
    development: values.development,
    clientsMax: values["clients-max"],
    recovering,
  });
  return path;
}

/** @throws {CommandError} when there is something at the path already, or no folder for it. */
function checkNewFile(path: string): void {
  if (existsSync(path)) {
    throw new CommandError(
      `'${path}' exists and is not overwritten; move it away, or give the name of a new file.`,
    );
  }
  if (!existsSync(dirname(path))) {
    throw new CommandError(`the folder '${dirname(path)}' does not exist; make it first.`);
  }
}

/** @throws {CommandError} */
export function replicaIndex(given: number | undefined, replicaCount: number): number {
  if (given === undefined && replicaCount === 1) return 0;
  const all = replicaCount === 1 ? "--replica=0" : `--replica=0 to ${replicaCount - 1}`;
  if (given === undefined) {
    throw new CommandError(
      `which of the ${replicaCount} replicas is this file for? Make one file for each, with ${all}.`,
    );
  }
  if (given >= replicaCount) {
    throw new CommandError(
      `--replica=${given} is outside a cluster of ${replicaCount}, whose indexes start at 0; give ${all}.`,
    );
  }
  return given;
}
