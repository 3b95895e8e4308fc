import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

test("the C++ holds under the address and undefined behaviour sanitizers", () => {
  const script = fileURLToPath(new URL("../../scripts/test-native.mjs", import.meta.url));
  const result = spawnSync(process.execPath, [script], { encoding: "utf8" });
  expect(`${result.stderr}${result.stdout}`).toContain("native tests passed");
  expect(`${result.stderr}${result.stdout}`).toContain("smoke test passed");
  expect(result.status).toBe(0);
}, 400_000);
