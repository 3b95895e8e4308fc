import { constants } from "node:buffer";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { layoutDifference, nativeLayout } from "./layout.ts";

let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pacioli-addon-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Loads the addon anew under the given environment. */
async function load(environment: Record<string, string>) {
  vi.resetModules();
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  const { addonAbsence, hasRing, loadAddon } = await import("./addon.ts");
  const addon = loadAddon();
  expect(loadAddon()).toBe(addon);
  const absence = addonAbsence();
  vi.unstubAllEnvs();
  return { addon, absence, ring: addon !== null && hasRing(addon) };
}

let fakes = 0;

/** A file that loads as an addon would; each has its own name, since Node loads a path once. */
function fake(content: string): string {
  fakes += 1;
  const path = join(folder, `fake-${fakes}.cjs`);
  writeFileSync(path, content);
  return path;
}

test("the addon that was built has the layouts of this source", async () => {
  const { addon, absence, ring } = await load({ PACIOLI_NO_ADDON: "0" });
  expect(absence).toBeNull();
  expect(addon?.layout).toEqual(nativeLayout);
  expect(ring).toBe(process.platform === "linux");
});

test("an addon that is off, missing, broken or of other sources is left out, and why is told", async () => {
  const text = JSON.stringify(nativeLayout);
  const other = JSON.stringify({ ...nativeLayout, controlWake: 12 });
  const cases: [Record<string, string>, RegExp][] = [
    [{ PACIOLI_NO_ADDON: "1" }, /PACIOLI_NO_ADDON/],
    [{ PACIOLI_ADDON_PATH: join(folder, "nothing.node") }, /^not built$/],
    [{ PACIOLI_ADDON_PATH: fake(`exports.layout = ${other};`) }, /'controlWake' differs/],
  ];
  for (const [environment, reason] of cases) {
    const { addon, absence } = await load({ PACIOLI_NO_ADDON: "0", ...environment });
    expect(addon).toBeNull();
    expect(absence).toMatch(reason);
  }
  const broken = await load({ PACIOLI_NO_ADDON: "0", PACIOLI_ADDON_PATH: fakeNode(folder) });
  expect(broken.absence).toMatch(/cannot be loaded/);
  // What loads and agrees is taken; without the ring it is told apart.
  const taken = await load({
    PACIOLI_NO_ADDON: "0",
    PACIOLI_ADDON_PATH: fake(`exports.layout = ${text};`),
  });
  expect(taken.addon).not.toBeNull();
  expect(taken.ring).toBe(false);
});

function fakeNode(folder: string): string {
  const path = join(folder, "broken.node");
  writeFileSync(path, "no shared library");
  return path;
}

test("sizes that no array has are refused, and what is no size or file at all", async () => {
  const { addon } = await load({ PACIOLI_NO_ADDON: "0" });
  if (addon === null) throw new Error("the addon is built where the tests run");
  for (let round = 0; round < 10; round += 1) {
    for (const large of [false, true]) {
      // More than Node.js 20 can wrap: it gives the memory back by itself then.
      const memory = addon.allocate(2 ** 32 + 4096, large);
      expect(memory === null).toBe(constants.MAX_LENGTH < 2 ** 32 + 4096);
      expect(addon.allocate(2 ** 53 - 1, large)).toBeNull();
    }
  }
  for (const size of [-1, 1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => addon.allocate(size, true)).toThrow(TypeError);
    expect(() => addon.filePreallocate(0, size)).toThrow(TypeError);
    expect(() => addon.fileSize(size)).toThrow(TypeError);
  }
  expect(() => addon.allocate(0, false)).toThrow(TypeError);
  expect(() => addon.allocate("4096" as unknown as number, false)).toThrow(TypeError);
});

test("a difference in any number is found", () => {
  expect(layoutDifference(nativeLayout)).toBeNull();
  expect(layoutDifference({})).toBe("version");
  for (const name of Object.keys(nativeLayout)) {
    expect(layoutDifference({ ...nativeLayout, [name]: 99 })).toBe(name);
  }
});
