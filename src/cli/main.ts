/** The process: streams, exit code and nothing else; see run.ts. */
import type { Terminal } from "./command.ts";
import { explain, run } from "./run.ts";

const terminal: Terminal = {
  out: (text) => void process.stdout.write(text),
  error: (text) => void process.stderr.write(text),
  interactive: process.stderr.isTTY === true,
};

// A reader that goes away (`pacioli inspect … | head`) ends the output, not the program; nor does
// a log that cannot be written end a server.
process.stderr.on("error", () => {});
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") return;
  terminal.error(`pacioli: the output cannot be written (${error.code}); is that disk full?\n`);
  process.exit(1);
});

// What a callback throws: memory that the system does not have, or a broken invariant, after which
// nothing may run on.
process.on("uncaughtException", (error) => {
  terminal.error(`pacioli: ${explain(error)}\n`);
  process.exit(1);
});

process.exitCode = await run(process.argv.slice(2), terminal);
