/**
 * `FILE.lock`: who has the data file open. With the addon the kernel's lock on the file itself is
 * what counts; this file is kept as well, so that a process with the addon and one without cannot
 * have the same data file, and so that a refusal can name the other process.
 *
 * A lock file outlives a crash, so it says who made it, precisely enough to tell a process that
 * has ended from one that runs: number, start time, boot, and the container (the namespace of
 * process numbers). A process of another container cannot be looked up. Then the kernel's lock
 * decides if we hold it; if not, the safe answer is "in use", and the message says what to do.
 */
import { linkSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";

/** Who holds a lock. Unknown parts are "-". */
export interface LockHolder {
  readonly pid: number;
  readonly started: string;
  readonly boot: string;
  readonly container: string;
}

const heading = "pacioli-lock 1";
/** More failures in a row than races can explain. */
const attemptsMax = 8;

/**
 * Takes the lock. Returns null, or who holds it.
 * @param kernelLocked - The kernel's lock on the data file is ours already.
 * @throws a node:fs error when the lock file cannot be written.
 */
export function acquireLockFile(path: string, kernelLocked: boolean): LockHolder | null {
  const own = format(ownHolder());
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    if (createWith(path, own)) return null;
    const text = readOrNull(path);
    if (text === null) continue; // Released in this moment.
    const holder = parse(text);
    if (holder === null || mayRun(holder, kernelLocked)) return holder ?? unknownHolder;
    removeStale(path, text);
  }
  return unknownHolder;
}

/** Gives the lock back; what another process has put there stays. */
export function releaseLockFile(path: string): void {
  if (readOrNull(path) === format(ownHolder())) rmSync(path, { force: true });
}

/**
 * True when the file names a process of this container that runs: that is who holds the kernel's
 * lock, and waiting is in vain.
 */
export function holderRuns(path: string): boolean {
  const holder = readLockFile(path);
  return holder !== null && holder.container === namespaceOrDash() && mayRun(holder, false);
}

/** Who says to hold the lock, true or not; null when nobody does or it cannot be read. */
export function readLockFile(path: string): LockHolder | null {
  const text = readOrNull(path);
  return text === null ? null : parse(text);
}

const unknownHolder: LockHolder = { pid: 0, started: "-", boot: "-", container: "-" };

/** Creates the file with its whole content at once, so that no reader finds it half written. */
function createWith(path: string, text: string): boolean {
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, text);
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EEXIST") return false;
    // A file system without hard links.
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "EOPNOTSUPP") throw error;
    return createExclusive(path, text);
  } finally {
    rmSync(draft, { force: true });
  }
}

function createExclusive(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/**
 * Takes a dead process's file away. Another process may do the same just now and have put its own
 * in place: what was moved is compared, and a live lock put back.
 */
function removeStale(path: string, text: string): void {
  const moved = `${path}.${process.pid}.stale`;
  try {
    renameSync(path, moved);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if (readOrNull(moved) !== text) createWith(path, readFileSync(moved, "utf8"));
  rmSync(moved, { force: true });
}

function mayRun(holder: LockHolder, kernelLocked: boolean): boolean {
  const own = ownHolder();
  if (holder.boot !== own.boot) return false; // The machine was started anew since.
  if (holder.container !== own.container) return !kernelLocked;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // EPERM: it runs, as another user.
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  // The number may belong to another process by now; then the start times differ.
  return holder.started === "-" || startTime(holder.pid, holder.started) === holder.started;
}

function ownHolder(): LockHolder {
  return {
    pid: process.pid,
    started: startTime(process.pid, "-"),
    boot: readOrNull("/proc/sys/kernel/random/boot_id")?.trim() ?? "-",
    container: namespaceOrDash(),
  };
}

/** Field 22 of /proc/PID/stat: clock ticks from boot. The second field may contain spaces. */
function startTime(pid: number, otherwise: string): string {
  const stat = readOrNull(`/proc/${pid}/stat`);
  if (stat === null) return otherwise;
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? otherwise;
}

function namespaceOrDash(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "-";
  }
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

function format(holder: LockHolder): string {
  const { pid, started, boot, container } = holder;
  return `${heading}\npid ${pid}\nstarted ${started}\nboot ${boot}\ncontainer ${container}\n`;
}

function parse(text: string): LockHolder | null {
  const lines = text.split("\n");
  if (lines[0] !== heading) return null;
  const value = (index: number, name: string): string =>
    lines[index]?.startsWith(`${name} `) ? lines[index].slice(name.length + 1) : "";
  const pid = Number(value(1, "pid"));
  if (!Number.isSafeInteger(pid) || pid <= 0) return null;
  const started = value(2, "started");
  const boot = value(3, "boot");
  const container = value(4, "container");
  if (started === "" || boot === "" || container === "") return null;
  return { pid, started, boot, container };
}
