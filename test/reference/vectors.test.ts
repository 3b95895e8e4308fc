/**
 * The captured session of the official client (group A of the vectors), replayed on the reference
 * ledger at the captured timestamps: reply bodies are equal, byte for byte.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { readInteger } from "./codec.ts";
import { ReferenceLedger } from "./ledger.ts";
import { executeRequest } from "./operations.ts";

const folder = join(dirname(fileURLToPath(import.meta.url)), "..", "vectors");

function messages(suffix: string): { file: string; bytes: Uint8Array }[] {
  return readdirSync(folder)
    .filter((file) => file.startsWith("A-") && file.endsWith(suffix))
    .sort()
    .map((file) => ({ file, bytes: readFileSync(join(folder, file)) }));
}

test("replies of the captured session are reproduced", () => {
  const ledger = new ReferenceLedger();
  const requests = messages("-request.bin").slice(1);
  const replies = messages("-reply.bin").slice(1);
  expect(requests.length).toBe(9);
  for (const [index, { file, bytes }] of requests.entries()) {
    const reply = replies[index]!.bytes;
    const timestamp = readInteger(reply, 224, 8);
    const body = executeRequest(ledger, bytes[196]!, bytes.subarray(256), timestamp);
    expect(Buffer.from(body).toString("hex"), file).toBe(
      Buffer.from(reply.subarray(256)).toString("hex"),
    );
  }
});
