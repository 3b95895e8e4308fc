/**
 * What ends a server in the foreground. The first SIGTERM or SIGINT stops it cleanly; a second one
 * ends it at once, which is as safe as a crash. So does the end of what started it, where that
 * would otherwise leave it behind with its port and its file.
 */
import { parentAtStart } from "./parent.ts";

const signals = ["SIGTERM", "SIGINT"] as const;

/**
 * A signal that follows another so soon is the same one: npm passes on a Ctrl-C that the terminal
 * has already sent to every process in the foreground. Milliseconds.
 */
const sameSignalMs = 500;

/** How often a server looks whether what started it is still there. Milliseconds. */
const parentCheckMs = 500;

/** Set by `development --replicas` for the processes that it starts. */
export const startedByClusterVariable = "PACIOLI_PART_OF_LOCAL_CLUSTER";

export interface StopActions {
  /** @param text - For the log. Called once. */
  stop(text: string): void;
  /** A second signal: end at once, with this exit code. */
  abort(code: number): void;
}

/** @returns A function that ends the watch. */
export function watchForStop(actions: StopActions): () => void {
  let stoppingSinceMs = 0;
  function onSignal(signal: NodeJS.Signals): void {
    const nowMs = performance.now();
    if (stoppingSinceMs > 0) {
      if (nowMs - stoppingSinceMs < sameSignalMs) return;
      actions.abort(signal === "SIGINT" ? 130 : 143);
      return;
    }
    stoppingSinceMs = nowMs;
    actions.stop("stopping");
  }
  for (const signal of signals) process.on(signal, onSignal);
  const endWatch = watchParent((text) => {
    // After a Ctrl-C npm ends as well, often first.
    if (stoppingSinceMs > 0) return;
    stoppingSinceMs = performance.now();
    actions.stop(text);
  });
  return () => {
    endWatch();
    for (const signal of signals) process.off(signal, onSignal);
  };
}

/**
 * npm runs scripts through a shell. A SIGTERM ends npm and the shell and never reaches the server,
 * nor does a SIGKILL of a process that runs several replicas: they stop when their parent changed.
 */
function watchParent(onGone: (text: string) => void): () => void {
  const text =
    process.env[startedByClusterVariable] !== undefined
      ? "stopping, since the process that runs the cluster has ended"
      : process.env["npm_lifecycle_event"] !== undefined
        ? "stopping, since npm has ended"
        : null;
  if (text === null) return () => {};
  const timer = setInterval(() => {
    if (process.ppid === parentAtStart) return;
    clearInterval(timer);
    onGone(text);
  }, parentCheckMs);
  return () => clearInterval(timer);
}
