/**
 * Makes the data file of a replica: creates it with an exclusive lock, formats it through the
 * portable backend's file I/O, syncs file and directory. On failure nothing is left behind.
 */
import { rmSync } from "node:fs";
import type { DataFileError } from "../core/data-file-error.ts";
import { openIo } from "../io/open-io.ts";
import { closeDataFile, type DataFile, openDataFile } from "../native/files.ts";
import {
  checkFormatOptions,
  DataFileLayout,
  defaultPreset,
  developmentPreset,
  type FormatOptions,
} from "../wal/data-file.ts";
import { formatDataFile as formatThrough } from "../wal/format.ts";
import { ownRelease } from "../wire/release.ts";

export interface FormatFileOptions {
  readonly path: string;
  /** 128-bit cluster id, four words. */
  readonly cluster: Uint32Array;
  readonly replica: number;
  readonly replicaCount: number;
  readonly development: boolean;
  readonly directIo: boolean;
  /** Undefined takes the preset's. */
  readonly clientsMax: number | undefined;
  /** The file replaces one that was lost: it takes part when the others have told it enough. */
  readonly recovering?: boolean;
}

/**
 * @param onDone - Null, or why there is no data file now, in one sentence.
 * @throws {DataFileError} The file cannot be created.
 */
export function formatFile(
  options: FormatFileOptions,
  onDone: (error: string | null) => void,
): void {
  const preset = options.development ? developmentPreset : defaultPreset;
  const format: FormatOptions = {
    ...preset,
    cluster: options.cluster,
    replica: options.replica,
    replicaCount: options.replicaCount,
    clientsMax: options.clientsMax ?? preset.clientsMax,
  };
  const problem = checkFormatOptions(format);
  if (problem !== null) {
    onDone(`the format options do not work: ${problem}.`);
    return;
  }
  const layout = new DataFileLayout(format);
  const file: DataFile = openDataFile(options.path, {
    directIo: options.directIo,
    create: { sizeBytes: layout.gridAt },
  });
  const { io } = openIo({ backend: "portable", drive: "guest" });
  io.start(() => {});
  const onFormatted = (error: DataFileError | null): void => {
    io.stop(() => {
      closeDataFile(file);
      if (error !== null) rmSync(options.path, { force: true });
      onDone(error === null ? null : error.message);
    });
  };
  formatThrough(io, file.fd, format, ownRelease, onFormatted, options.recovering ?? false);
}
