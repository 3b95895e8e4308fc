/** An official client in a child process, as an object with one call under way at a time. */
import { type ChildProcess, fork } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Client } from "tigerbeetle-node";

const script = join(dirname(fileURLToPath(import.meta.url)), "official-client.mjs");

type Method = Exclude<keyof Client, "destroy">;
type Outcome = { readonly result: unknown } | { readonly error: string };

export class OfficialClient {
  private readonly child: ChildProcess;
  private output = "";
  private settle: ((outcome: Outcome) => void) | null = null;
  private ended: string | null = null;

  /** @param ports - Of every replica, or of some. */
  constructor(ports: readonly number[]) {
    this.child = fork(script, [ports.join()], { serialization: "advanced", silent: true });
    const hear = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString("utf8")).slice(-4096);
    };
    this.child.stdout!.on("data", hear);
    this.child.stderr!.on("data", hear);
    this.child.on("message", (outcome: Outcome) => this.finish(outcome));
    this.child.on("close", (code, signal) => {
      this.ended = `the official client's process ended (${code ?? signal}): ${this.output}`;
      this.finish({ error: this.ended });
    });
  }

  private finish(outcome: Outcome): void {
    this.settle?.(outcome);
    this.settle = null;
  }

  /** Resolves with the client's result, whenever it comes: it retries for ever. */
  async call<M extends Method>(
    method: M,
    argument: Parameters<Client[M]>[0],
  ): Promise<Awaited<ReturnType<Client[M]>>> {
    if (this.settle !== null) throw new Error("a call is under way");
    if (this.ended !== null) throw new Error(this.ended);
    const outcome = await new Promise<Outcome>((resolve) => {
      this.settle = resolve;
      this.child.send({ method, argument });
    });
    if ("error" in outcome) throw new Error(outcome.error);
    return outcome.result as Awaited<ReturnType<Client[M]>>;
  }

  close(): void {
    this.settle = null;
    this.child.kill("SIGKILL");
  }
}
