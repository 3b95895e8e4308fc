// Builds what is not up to date, then runs the `pacioli` command in this same process, so that
// signals reach the server itself and not a shell in between.
// Usage: node scripts/run.mjs COMMAND [OPTIONS]
import { buildOrExit } from "./build.mjs";

buildOrExit({ quiet: true });
await import("../dist/cli/main.js");
