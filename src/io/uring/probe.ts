/** What this machine offers of io_uring, asked once; call sites choose by it. */
import { readFileSync } from "node:fs";
import { getSystemErrorName } from "node:util";
import { addonAbsence, hasRing, loadAddon, type RingAddon } from "../../native/addon.ts";

export interface UringCapabilities {
  readonly addon: RingAddon;
  /** Completions are worked off only when asked for: Linux 6.1 and newer. */
  readonly deferredTaskRun: boolean;
  /** The kernel makes single writes durable (RWF_DSYNC). A file system may refuse it. */
  readonly durableWrite: boolean;
}

const setupDeferTaskRun = 1 << 13;

let capabilities: UringCapabilities | null = null;
let refusal: string | null = null;

/** The capabilities, or one clause that says why there are none. */
export function probeUring(): UringCapabilities | string {
  if (capabilities !== null) return capabilities;
  if (refusal !== null) return refusal;
  const found = probe();
  if (typeof found === "string") refusal = found;
  else capabilities = found;
  return found;
}

function probe(): UringCapabilities | string {
  const addon = loadAddon();
  if (addon === null) return `the native addon is missing (${addonAbsence()})`;
  if (!hasRing(addon)) return "io_uring exists on Linux only";
  const result = addon.ringProbe();
  if (result.error !== 0) return uringRefusal(result.error);
  if (!result.opcodesComplete)
    return "this kernel's io_uring lacks operations; Linux 5.11 has them";
  return {
    addon,
    deferredTaskRun: (result.setupFlags & setupDeferTaskRun) !== 0,
    durableWrite: result.durableWrite,
  };
}

/** Why io_uring_setup failed, for a person. `error` is a negative errno. */
export function uringRefusal(error: number): string {
  const name = getSystemErrorName(error);
  switch (name) {
    case "EPERM":
    case "EACCES":
      return `io_uring is not permitted here (${disabledSetting()})`;
    case "ENOSYS":
    case "EINVAL":
      return "this kernel has no io_uring, or one older than Linux 5.11";
    case "ENOMEM":
      return "there is no memory for the ring; raise the limit of locked memory (ulimit -l)";
    case "EMFILE":
    case "ENFILE":
      return "too many files are open to open a ring";
    default:
      return `io_uring cannot be set up: ${name}`;
  }
}

function disabledSetting(): string {
  let setting = "";
  try {
    setting = readFileSync("/proc/sys/kernel/io_uring_disabled", "utf8").trim();
  } catch {
    // Kernels before 6.6 have no such setting.
  }
  return setting === "" || setting === "0"
    ? "a seccomp profile forbids it, as containers' default one does"
    : `kernel.io_uring_disabled is ${setting}`;
}
