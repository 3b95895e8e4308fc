/** Options of a running server that several commands share. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { blockCacheSizeMax } from "../storage/block-cache.ts";
import { CommandError } from "./command-error.ts";
import { choice, flag, type OptionValues, onOff, size } from "./options.ts";
import type { SocketAddress } from "./values.ts";

export const logLevels = ["error", "warn", "info", "debug"] as const;
const backends = ["auto", "uring", "portable"] as const;

/** Of every server. */
export const commonOptions = {
  backend: choice(backends, {
    help: "How files and sockets are driven; auto takes io_uring where the kernel allows it",
    initial: "auto",
  }),
  "direct-io": onOff({
    help: "Write around the page cache; off only where the file system cannot",
    initial: true,
  }),
  "request-grouping": onOff({
    help: "Let waiting requests share a journal write",
    initial: true,
  }),
  "log-level": choice(logLevels, { help: "Least severe messages to print", initial: "info" }),
};

/** Of a server that is not made for trying things. */
export const startOptions = {
  ...commonOptions,
  development: flag("Small caches, for little memory"),
  "cache-grid": size({
    help: "Memory for blocks read from the data file",
    min: 2 ** 20,
    max: blockCacheSizeMax,
    defaultText: "128MiB; with --development 16MiB",
  }),
};

export type LogLevel = (typeof logLevels)[number];

/** What the common options say, as the server takes it. */
export function commonSettings(values: OptionValues<typeof commonOptions>) {
  return {
    backend: values.backend,
    drive: "owned",
    directIo: values["direct-io"],
    grouping: values["request-grouping"],
  } as const;
}

/** @throws {CommandError} */
export function oneAddress(list: readonly SocketAddress[]): SocketAddress {
  if (list.length !== 1) {
    throw new CommandError(
      `${list.length} addresses are given, but one server is meant; give one.`,
    );
  }
  return list[0]!;
}

/**
 * Looks a host's name up, for what connects to numbers only.
 * @throws {CommandError}
 */
export async function numericAddress({ host, port }: SocketAddress): Promise<SocketAddress> {
  if (isIP(host) !== 0) return { host, port };
  try {
    return { host: (await lookup(host)).address, port };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(`the name '${host}' cannot be looked up (${code}).`);
  }
}
