/** Options of a running server that several commands share. */
import { choice, flag, onOff, size } from "./options.ts";

export const logLevels = ["error", "warn", "info", "debug"] as const;
const backends = ["auto", "uring", "portable"] as const;

export const serverOptions = {
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
  development: flag("Small caches, for little memory"),
  "cache-grid": size({
    help: "Memory for blocks read from the data file",
    min: 2 ** 20,
    // The longest buffer that JavaScript has.
    max: 2 ** 32,
    defaultText: "128MiB; with --development 16MiB",
  }),
  "log-level": choice(logLevels, { help: "Least severe messages to print", initial: "info" }),
};

export type LogLevel = (typeof logLevels)[number];
