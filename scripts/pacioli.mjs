// Runs the built `pacioli` command in this same process, so that signals reach it, or says that
// there is no build.
// Usage: node scripts/pacioli.mjs COMMAND [OPTIONS]
try {
  // By itself: who started this process may end while the rest is being loaded.
  await import("../dist/cli/parent.js");
  await import("../dist/cli/main.js");
} catch (error) {
  // Whatever a command cannot do it says itself; only modules can be missing here.
  if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
  process.stderr.write("pacioli: this clone is not built; run 'npm run build' first.\n");
  process.exitCode = 1;
}
