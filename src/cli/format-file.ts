/** The server's formatting of a data file, for commands: a promise, and sentences for errors. */
import { formatFile } from "../server/format-file.ts";
import { CommandError } from "./command-error.ts";

export interface FormatSettings {
  readonly path: string;
  readonly cluster: bigint;
  readonly replica: number;
  readonly replicaCount: number;
  readonly development: boolean;
  /** Undefined takes the preset's. */
  readonly clientsMax: number | undefined;
  /** The file replaces a lost one of a cluster that goes on. */
  readonly recovering?: boolean;
}

/** @throws {CommandError} or {DataFileError}; nothing is left behind then. */
export function formatDataFile(settings: FormatSettings): Promise<void> {
  const cluster = new Uint32Array(4);
  for (let word = 0; word < 4; word += 1) {
    cluster[word] = Number((settings.cluster >> BigInt(32 * word)) & 0xffff_ffffn);
  }
  return new Promise((resolve, reject) => {
    // Through the page cache, and synced: `start` says it when the file system has no Direct I/O.
    formatFile({ ...settings, cluster, directIo: false }, (error) => {
      if (error === null) resolve();
      else reject(new CommandError(error));
    });
  });
}
