import { constants } from "node:buffer";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { hasRing, type RingAddon } from "./addon.ts";
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

/** Lists of arguments, each with one of them replaced by what it must not be. */
function wrongCalls(right: readonly unknown[], wrong: readonly unknown[]): unknown[][] {
  const calls: unknown[][] = [[], right.slice(1), [...right, 0]];
  for (let index = 0; index < right.length; index += 1) {
    for (const value of wrong) calls.push(right.with(index, value));
  }
  return calls;
}

test("a call with wrong arguments is an error, and never the end of the process", async () => {
  const { addon } = await load({ PACIOLI_NO_ADDON: "0" });
  if (addon === null || !hasRing(addon)) throw new Error("the addon has the ring here");
  const ring = addon.ringOpen(8, 16, 8, 2, 0);
  if (typeof ring === "number") throw new Error(`no ring: ${ring}`);
  const { id } = addon.allocate(8192, false)!;
  const done = (): boolean => false;
  const wrong = [undefined, null, {}, -2, 0.5, 2 ** 32, 2 ** 53, Number.NaN];
  const calls: [keyof RingAddon, readonly unknown[]][] = [
    ["touch", [id, 0, 4096, done]],
    ["ringOpen", [8, 16, 8, 2, 0]],
    ["ringEnter", [ring.id, 0]],
    ["ringOwn", [ring.id, done]],
    ["ringWatch", [ring.id, done]],
    ["ringRegisterFile", [ring.id, 0, 0]],
    ["ringReserveBuffers", [ring.id, 4]],
    ["ringRegisterBuffer", [ring.id, id]],
    ["ringConnect", [ring.id, 0, "127.0.0.1", 1]],
    ["ringClose", [ring.id]],
    ["socketListen", ["127.0.0.1", 0, 8]],
    ["socketPort", [0]],
    ["socketConfigure", [0]],
    ["socketShutdown", [0]],
    ["socketDiscard", [0]],
  ];
  const call = (name: keyof RingAddon, list: readonly unknown[]): unknown =>
    (addon[name] as (...list: readonly unknown[]) => unknown)(...list);
  for (const [name, right] of calls) {
    for (const list of wrongCalls(right, wrong)) {
      expect(() => call(name, list), `${name}(${list.map(String).join(", ")})`).toThrow(TypeError);
    }
  }
  for (const [name, list] of [
    ["touch", [id + 1000, 0, 4096, done]],
    ["touch", [id, 8192, 1, done]],
    ["touch", [id, 4096, 4097, done]],
    ["ringOpen", [7, 16, 8, 2, 0]],
    ["ringOpen", [8, 2 ** 31, 8, 2, 0]],
    ["ringOpen", [8, 16, 0, 2, 0]],
    ["ringOpen", [8, 16, 8, 3, 0]],
    ["ringEnter", [ring.id + 1000, 0]],
    ["ringRegisterFile", [ring.id, 16, 0]],
    ["ringReserveBuffers", [ring.id, 0]],
    ["ringReserveBuffers", [ring.id, 65_536]],
    ["ringRegisterBuffer", [ring.id, id + 1000]],
    ["ringConnect", [ring.id, 16, "127.0.0.1", 1]],
    ["ringConnect", [ring.id, 0, "127.0.0.1", 65_536]],
    ["socketListen", ["127.0.0.1", 65_536, 8]],
  ] as [keyof RingAddon, unknown[]][]) {
    expect(() => call(name, list), `${name}(${list.map(String).join(", ")})`).toThrow(TypeError);
  }
  expect(addon.ringWatch(ring.id, done)).toBe(0);
  expect(() => addon.ringOwn(ring.id, done)).toThrow("once per ring");
  addon.ringClose(ring.id);
  expect(() => addon.ringClose(ring.id)).toThrow(TypeError);
});

test("a difference in any number is found", () => {
  expect(layoutDifference(nativeLayout)).toBeNull();
  expect(layoutDifference({})).toBe("version");
  for (const name of Object.keys(nativeLayout)) {
    expect(layoutDifference({ ...nativeLayout, [name]: 99 })).toBe(name);
  }
});
