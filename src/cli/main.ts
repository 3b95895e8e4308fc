/** The process: streams, exit code and nothing else; see run.ts. */
import type { Terminal } from "./command.ts";
import { run } from "./run.ts";

const terminal: Terminal = {
  out: (text) => void process.stdout.write(text),
  error: (text) => void process.stderr.write(text),
  interactive: process.stderr.isTTY === true,
};

// A reader that goes away (`pacioli inspect … | head`) ends the output, not the program.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

process.exitCode = await run(process.argv.slice(2), terminal);
