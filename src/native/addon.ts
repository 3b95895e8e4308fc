/**
 * The optional loader of the addon. Everything that uses it has a way without: a missing addon is
 * no error, and `addonAbsence` says why it is missing, for the log line at start.
 *
 * `PACIOLI_NO_ADDON=1` keeps it out; `PACIOLI_ADDON_PATH` names another file than build/pacioli.node.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { layoutDifference } from "./layout.ts";
import type { RunKernels } from "./sorted-runs/run-kernels.ts";

export interface NativeRing {
  readonly id: number;
  readonly setupFlags: number;
  readonly descriptors: ArrayBuffer;
  readonly queue: ArrayBuffer;
  readonly completions: ArrayBuffer;
  readonly control: ArrayBuffer;
}

export interface NativeRingProbe {
  /** 0, or the negative errno with which the kernel refuses io_uring. */
  readonly error: number;
  readonly setupFlags: number;
  readonly features: number;
  readonly opcodesComplete: boolean;
  /** The kernel knows RWF_DSYNC; a file system may still refuse it. */
  readonly durableWrite: boolean;
}

/** Functions that return a number return a negative errno on failure, unless said otherwise. */
export interface NativeAddon extends RunKernels {
  readonly layout: Readonly<Record<string, number>>;

  readonly checksumVariant: "aes-ni" | "armv8-aes" | "portable";
  checksum(
    target: Uint8Array,
    targetAt: number,
    source: Uint8Array,
    at: number,
    length: number,
  ): void;

  /** Zeroed pages, freed with the last reference to `memory`; null when there are none. */
  allocate(sizeBytes: number, large: boolean): { id: number; memory: ArrayBuffer } | null;

  /** Has the kernel commit pages of a buffer, in another thread; changes nothing in them. */
  touch(id: number, at: number, sizeBytes: number, onDone: () => void): void;

  /** Receives the clocks' nanoseconds as (low, high) words. */
  readonly clockMemory: ArrayBuffer;
  clockMonotonic(): void;
  clockWall(): void;

  fileLock(fd: number): number;
  fileUnlock(fd: number): number;
  filePreallocate(fd: number, sizeBytes: number): number;
  fileSize(fd: number): number;
  fileProbeDirect(fd: number): number;
  fileDropCached(fd: number): number;

  /** Linux only, all below. */
  ringProbe?(): NativeRingProbe;
  ringOpen?(
    entries: number,
    slots: number,
    completionsMax: number,
    level: number,
    pollUs: number,
  ): NativeRing | number;
  ringEnter?(id: number, waitMs: number): number;
  /** `onTurn` is called in each round of libuv's loop, and again while it returns true. */
  ringOwn?(id: number, onTurn: () => boolean): number;
  ringWatch?(id: number, onReadable: () => void): number;
  ringRegisterFile?(id: number, index: number, fd: number): number;
  /** Before the first buffer is registered: how many there may be. */
  ringReserveBuffers?(id: number, count: number): number;
  /** Until the ring is closed. */
  ringRegisterBuffer?(id: number, bufferId: number): number;
  ringConnect?(id: number, slot: number, host: string, port: number): number;
  ringClose?(id: number): void;
  socketListen?(host: string, port: number, backlog: number): number;
  socketPort?(fd: number): number;
  socketConfigure?(fd: number): number;
  socketShutdown?(fd: number): number;
  socketDiscard?(fd: number): number;
}

/** An addon that has the ring. */
export type RingAddon = Required<NativeAddon>;

let loaded: NativeAddon | null = null;
let absence: string | null = "not loaded yet";
let tried = false;

/** The addon, or null where it is missing, unfit or switched off. Loaded once. */
export function loadAddon(): NativeAddon | null {
  if (tried) return loaded;
  tried = true;
  if (process.env["PACIOLI_NO_ADDON"] === "1") {
    absence = "switched off by PACIOLI_NO_ADDON";
    return null;
  }
  const path = resolve(
    process.env["PACIOLI_ADDON_PATH"] ??
      fileURLToPath(new URL("../../build/pacioli.node", import.meta.url)),
  );
  if (!existsSync(path)) {
    absence = "not built";
    return null;
  }
  try {
    const found = createRequire(import.meta.url)(path) as NativeAddon;
    const difference = layoutDifference(found.layout);
    if (difference === null) {
      loaded = found;
      absence = null;
    } else {
      absence = `built from other sources ('${difference}' differs); build it again`;
    }
  } catch (error) {
    absence = `cannot be loaded: ${error instanceof Error ? error.message : String(error)}`;
  }
  return loaded;
}

/** Why `loadAddon` gives null; null when it does not. */
export function addonAbsence(): string | null {
  loadAddon();
  return absence;
}

export function hasRing(addon: NativeAddon): addon is RingAddon {
  return addon.ringOpen !== undefined;
}
