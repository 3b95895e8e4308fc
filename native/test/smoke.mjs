// Uses every function of an addon once or more, from Node: the part of the addon that the C++ tests
// do not reach. Run by scripts/test-native.mjs with a sanitized addon.
// Usage: node smoke.mjs ADDON
import assert from "node:assert/strict";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";

const path = process.argv[2];
const addon = createRequire(import.meta.url)(path);
const { layout } = addon;
const wait = () => new Promise((resolve) => setImmediate(resolve));

function checksums() {
  const hex = (bytes) => Buffer.from(bytes).toString("hex");
  const target = new Uint8Array(16);
  addon.checksum(target, 0, new Uint8Array(0), 0, 0);
  assert.equal(hex(target), "83cc600dc4e3e7e62d4055826174f149");
  for (let length = 0; length < 300; length += 1) {
    addon.checksum(target, 0, new Uint8Array(length), 0, length);
  }
  const bytes = new Uint8Array(32);
  for (const refused of [
    [],
    [target, 0, bytes, 0],
    [target, 0, bytes, 0, 33],
    [target, 1, bytes, 0, 32],
    [target, -1, bytes, 0, 32],
    [target, 0, bytes, 2 ** 53, 1],
    [target, 0, bytes, Number.NaN, 1],
    [target, 0, bytes, 0.5, 1],
    [new Uint16Array(16), 0, bytes, 0, 1],
    [target, 0, new ArrayBuffer(8), 0, 1],
    [null, 0, bytes, 0, 1],
  ]) {
    assert.throws(() => addon.checksum(...refused));
  }
}

function sortedRuns() {
  const entries = Uint32Array.from({ length: 600 }, (_, index) => (index * 7919) % 1000);
  const scratch = new Uint32Array(600);
  addon.sortEntries(entries, 0, 100, 6, scratch);
  const target = new Uint32Array(600);
  const cursors = Uint32Array.of(0, 300, 1, 300, 600, 0);
  assert.equal(addon.mergeEntries(target, 0, 100, 6, [entries, entries], cursors), 50);
  assert.equal(addon.searchEntries(entries, 0, 100, 6, entries, 594), 99);
  const filter = new Uint32Array(layout.filterWords);
  addon.buildFilter(filter, 0, entries, 2, 6, 100, 1);
  assert.equal(addon.probeFilter(filter, 0, entries, 2, 1), true);
  const fences = Uint32Array.of(...entries.subarray(0, 6), ...entries.subarray(594));
  const offsets = Uint32Array.of(2, 596);
  const room = new Uint32Array(2 * layout.probeScratchWords);
  const candidates = new Uint32Array(6);
  const probe = (...changed) => {
    const all = [entries, offsets, 2, [fences], [filter], Uint32Array.of(1, 0, 0), 1, room];
    for (const [index, value] of changed) all[index] = value;
    return addon.probeRuns(...all, candidates);
  };
  assert.equal(probe(), 2);
  assert.deepEqual([...candidates], [0, 0, 0, 1, 0, 0]);
  const shared = new Uint32Array(new SharedArrayBuffer(2400));
  // What takes an array's memory away while the arguments are being read.
  const detaching = [fences];
  Object.defineProperty(detaching, 0, {
    get: () => {
      structuredClone(null, { transfer: [given.buffer] });
      return fences;
    },
  });
  const given = entries.slice();
  for (const refused of [
    () => addon.sortEntries(),
    () => addon.sortEntries(entries, 0, 101, 6, scratch),
    () => addon.sortEntries(entries, 0, 100, 6, entries),
    () => addon.sortEntries(shared, 0, 100, 6, scratch),
    () => addon.sortEntries(new Int32Array(600), 0, 100, 6, scratch),
    () => addon.sortEntries(entries, 0, 2 ** 53, 6, scratch),
    () => addon.mergeEntries(target, 0, 101, 6, [entries], cursors),
    () => addon.mergeEntries(target, 0, 100, 6, [target], Uint32Array.of(0, 6, 0)),
    () => addon.mergeEntries(target, 0, 100, 6, [null], cursors),
    () => addon.mergeEntries(target, 0, 100, 6, entries, cursors),
    () => addon.mergeEntries(target, 0, 100, 6, Array(9), cursors),
    () => addon.buildFilter(filter, 0, entries, 2, 6, 101, 1),
    () => addon.buildFilter(filter, 1, entries, 2, 6, 1, 1),
    () => addon.probeFilter(filter, 0, entries, 597, 1),
    () => addon.searchEntries(entries, 0, 101, 6, entries, 0),
    () => probe([1, Uint32Array.of(2, 597)]),
    () => probe([3, []]),
    () => probe([5, Uint32Array.of(2, 0, 0)]),
    () => probe([7, new Uint32Array(31)]),
    () => probe([0, given], [3, detaching]),
  ]) {
    assert.throws(refused);
  }
  assert.equal(given.length, 0);
}

async function memory() {
  for (let round = 0; round < 20; round += 1) {
    for (const large of [false, true]) {
      const { id, memory } = addon.allocate(10_000, large);
      assert.ok(id >= 0);
      new Uint8Array(memory).fill(1);
    }
  }
  assert.equal(addon.allocate(2 ** 52, false), null);
  const { id, memory } = addon.allocate(65_536, true);
  new Uint8Array(memory)[4096] = 7;
  await new Promise((resolve) => addon.touch(id, 4096, 8192, resolve));
  assert.equal(new Uint8Array(memory)[4096], 7);
  globalThis.gc?.(); // Frees what was allocated above.
  await wait();
}

function filesAndClocks(folder) {
  const fd = openSync(
    join(folder, "file"),
    constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT,
  );
  assert.equal(addon.fileLock(fd), 0);
  assert.equal(addon.filePreallocate(fd, 65_536), 0);
  assert.equal(addon.fileSize(fd), 65_536);
  assert.equal(addon.fileProbeDirect(fd), 0);
  assert.equal(addon.fileDropCached(fd), 0);
  assert.equal(addon.fileUnlock(fd), 0);
  const words = new Uint32Array(addon.clockMemory, 0, 2);
  for (const read of [addon.clockMonotonic, addon.clockWall]) {
    read();
    assert.ok(words[0] > 0 || words[1] > 0);
  }
  return fd;
}

const slots = 16;

class Ring {
  constructor(level) {
    const ring = addon.ringOpen(8, slots, 8, level, 100);
    assert.equal(typeof ring, "object");
    this.id = ring.id;
    this.descriptors = new Uint32Array(ring.descriptors);
    this.pending = new Uint32Array(ring.queue);
    this.control = new Uint32Array(ring.control);
    this.completions = new Int32Array(ring.completions);
    this.results = new Map();
  }

  start(slot, opcode, fields) {
    const at = (slot * layout.descriptorSize) / 4;
    this.descriptors.fill(0, at, at + 8);
    for (const [name, value] of Object.entries({ Opcode: opcode, ...fields })) {
      this.descriptors[at + layout[`descriptor${name}`] / 4] = value;
    }
    const tail = layout.controlQueueTail / 4;
    this.pending[this.control[tail] % slots] = slot;
    this.control[tail] += 1;
  }

  turn(waitMs) {
    const count = addon.ringEnter(this.id, waitMs);
    assert.ok(count >= 0);
    for (let index = 0; index < count; index += 1) {
      const at = (index * layout.completionSize) / 4;
      this.results.set(this.completions[at], this.completions[at + 1]);
    }
  }

  async result(slot, waitMs) {
    for (let turn = 0; !this.results.has(slot); turn += 1) {
      assert.ok(turn < 10_000, "the operation ends");
      this.turn(waitMs);
      await wait();
    }
    const result = this.results.get(slot);
    this.results.delete(slot);
    return result;
  }
}

async function exchange(ring, fd, waitMs) {
  const { id, memory } = addon.allocate(65_536, false);
  const bytes = new Uint8Array(memory);
  bytes.fill(5, 0, 4096);
  const range = { BufferId: id, BufferAt: 0, Length: 4096 };
  ring.start(0, layout.opcodeWrite, { Handle: fd, ...range, Flags: layout.flagDurable });
  assert.equal(await ring.result(0, waitMs), 4096);
  assert.equal(addon.ringRegisterFile(ring.id, 0, fd), 0);
  assert.equal(addon.ringReserveBuffers(ring.id, 4), 0);
  assert.equal(addon.ringRegisterBuffer(ring.id, id), 0);
  assert.equal(addon.ringRegisterBuffer(ring.id, addon.allocate(4096, false).id), 0);
  globalThis.gc?.(); // The second buffer's owner is gone; its ring still has it.
  ring.start(0, layout.opcodeRead, {
    Handle: 0,
    ...range,
    BufferAt: 4096,
    Flags: layout.flagFixedFile,
  });
  assert.equal(await ring.result(0, waitMs), 4096);
  assert.equal(bytes[8191], 5);
  ring.start(0, layout.opcodeSync, { Handle: fd });
  assert.equal(await ring.result(0, waitMs), 0);

  const listener = addon.socketListen("127.0.0.1", 0, 8);
  const port = addon.socketPort(listener);
  ring.start(1, layout.opcodeAccept, { Handle: listener });
  ring.start(2, layout.opcodeNop, {});
  assert.equal(await ring.result(2, waitMs), 0);
  assert.ok(addon.ringConnect(ring.id, 2, "no address", port) < 0);
  const client = addon.ringConnect(ring.id, 2, "127.0.0.1", port);
  assert.equal(addon.socketConfigure(client), 0);
  const connectAt = (2 * layout.descriptorSize) / 4;
  ring.descriptors[connectAt + layout.descriptorOpcode / 4] = layout.opcodeConnect;
  ring.descriptors[connectAt + layout.descriptorHandle / 4] = client;
  const tail = layout.controlQueueTail / 4;
  ring.pending[ring.control[tail] % slots] = 2;
  ring.control[tail] += 1;
  assert.equal(await ring.result(2, waitMs), 0);
  const server = await ring.result(1, waitMs);
  ring.start(3, layout.opcodeReceive, {
    Handle: server,
    ...range,
    BufferAt: 8192,
    Flags: layout.flagWhole,
  });
  ring.start(4, layout.opcodeSend, { Handle: client, ...range });
  assert.equal(await ring.result(4, waitMs), 4096);
  assert.equal(await ring.result(3, waitMs), 4096);
  assert.equal(bytes[8192 + 4095], 5);
  ring.start(3, layout.opcodeReceive, { Handle: server, ...range });
  ring.turn(0);
  ring.start(4, layout.opcodeCancel, { Handle: 3 });
  assert.equal(await ring.result(3, waitMs), -125);
  assert.equal(await ring.result(4, waitMs), 0);
  assert.equal(addon.socketShutdown(client), 0);
  ring.start(3, layout.opcodeClose, { Handle: client });
  assert.equal(await ring.result(3, waitMs), 0);
  assert.equal(addon.socketDiscard(server), 0);
  assert.equal(addon.socketDiscard(listener), 0);
}

async function rings(fd) {
  assert.equal(addon.ringProbe().error, 0);
  for (const level of [0, 1, 2]) {
    const owned = new Ring(level);
    let rounds = 0;
    const onRound = () => {
      rounds += 1;
    };
    assert.equal(addon.ringOwn(owned.id, onRound), 0);
    await exchange(owned, fd, 5);
    assert.ok(rounds > 0);
    addon.ringClose(owned.id);

    const guest = new Ring(level);
    let wakes = 0;
    let closed = false;
    const onReadable = () => {
      wakes += 1;
      if (!closed) guest.turn(0);
    };
    assert.equal(addon.ringWatch(guest.id, onReadable), 0);
    await exchange(guest, fd, 0);
    assert.ok(wakes > 0);
    // Closed from inside its own callback, as a backend does that stops.
    for (const drive of [addon.ringOwn, addon.ringWatch]) {
      await new Promise((resolve) => {
        const closing = new Ring(level);
        drive(closing.id, () => {
          closing.turn(0);
          addon.ringClose(closing.id);
          resolve();
        });
        closing.start(0, layout.opcodeNop, {});
        addon.ringEnter(closing.id, 0);
      });
    }
    closed = true;
    addon.ringClose(guest.id);
    await wait();
  }
}

/** A worker that ends with operations in flight and its ring open. */
async function abandonedWorker() {
  const worker = new Worker(
    `const { workerData, parentPort } = require("node:worker_threads");
     const addon = require(workerData);
     const ring = addon.ringOpen(8, 16, 8, 0, 0);
     addon.ringWatch(ring.id, () => {});
     const { id } = addon.allocate(4096, false);
     const at = addon.layout;
     const words = new Uint32Array(ring.descriptors);
     words[at.descriptorOpcode / 4] = at.opcodeAccept;
     words[at.descriptorHandle / 4] = addon.socketListen("127.0.0.1", 0, 8);
     new Uint32Array(ring.control)[at.controlQueueTail / 4] = 1;
     addon.ringEnter(ring.id, 0);
     parentPort.postMessage(id);`,
    { eval: true, workerData: path },
  );
  await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  await worker.terminate();
}

/** A worker that ends while another thread commits pages for it. */
async function workerThatTouches() {
  const worker = new Worker(
    `const { workerData, parentPort } = require("node:worker_threads");
     const addon = require(workerData);
     const { id } = addon.allocate(256 * 1024 * 1024, false);
     addon.touch(id, 0, 256 * 1024 * 1024, () => {});
     parentPort.postMessage(id);`,
    { eval: true, workerData: path },
  );
  await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  await worker.terminate();
}

const folder = mkdtempSync(join(tmpdir(), "pacioli-smoke-"));
try {
  checksums();
  sortedRuns();
  await memory();
  const fd = filesAndClocks(folder);
  await rings(fd);
  closeSync(fd);
  await abandonedWorker();
  await workerThatTouches();
} finally {
  rmSync(folder, { recursive: true });
}
console.log("smoke test passed");
