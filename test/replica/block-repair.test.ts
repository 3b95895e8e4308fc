/** Blocks and kept replies move between replicas, over a bad network, and nothing wrong does. */
import { describe, expect, test } from "vitest";
import { blocksInFlightMax } from "../../src/consensus/block-serving.ts";
import type { ClientSessions } from "../../src/consensus/client-sessions.ts";
import { blockSize, headerSize, replySlotSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { Scrubber } from "../../src/storage/scrubber.ts";
import { ReplyFields, sealHeader, writeReply } from "../../src/wire/build.ts";
import { Command, frame } from "../../src/wire/header.ts";
import { blockHeader, blockRequestsMax } from "../../src/wire/replica-headers.ts";
import {
  blockRequestAt,
  writeBlock,
  writeGetBlocks,
  writeNoBlock,
} from "../../src/wire/replica-messages.ts";
import { clusterId, type Load, type World } from "../storage/world.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";
import { type Fate, RepairNet } from "./repair-net.ts";

const load: Load = { seed: 31, interval: 4, rowsMax: 1200, touchesMax: 30, accountsMax: 600 };

function fetchMissing(world: World): void {
  let done = false;
  world.engine.fetchMissing(1, () => {
    done = true;
  });
  world.file.until(() => done);
}

/** Site 2 loses everything and moves to the checkpoint of the others. */
function moveSite2(net: RepairNet): World {
  const [first, , last] = net.sites;
  const { world } = last!;
  world.file.settle();
  for (const address of world.liveAddresses()) {
    const at = world.engine.grid.fileOffset(address);
    world.file.restore(at, new Uint8Array(blockSize));
  }
  world.durable = first!.world.durable;
  world.reopen();
  fetchMissing(world);
  return world;
}

function sound(world: World): void {
  world.file.settle();
  expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
}

/** Stops `advance` from being called when a world is idle. */
function settled(net: RepairNet): void {
  for (const { world } of net.sites) world.file.onIdle = () => false;
}

function lossy(seed: number): Fate {
  const random = new Prng(seed);
  return ({ bytes }) => {
    if (random.chance(0.2)) return [];
    return random.chance(0.2) ? [bytes, bytes] : [bytes];
  };
}

/** What `from` says instead of sending the block in `bytes`. */
function denial(bytes: Uint8Array, from: number): Uint8Array {
  const words = new Uint32Array(bytes.buffer.slice(0));
  const checksum = words.slice(blockHeader.word.blockChecksum);
  const lie = memoryBuffer(headerSize);
  writeNoBlock(
    lie.bytes,
    lie.words,
    clusterId,
    0,
    from,
    checksum,
    0,
    words[blockHeader.word.address]!,
  );
  return lie.bytes;
}

describe("blocks", () => {
  test("of a whole checkpoint come from the others, over a bad network", () => {
    for (let seed = 1; seed <= 5; seed += 1) {
      const net = new RepairNet(load, seed);
      net.run(16);
      net.fate = lossy(seed);
      const world = moveSite2(net);
      const live = world.liveAddresses().length;
      const { repair } = net.sites[2]!;
      expect(repair.counters.received).toBe(live);
      expect(repair.counters.expired).toBeGreaterThan(0);
      expect(repair.counters.unasked).toBeGreaterThan(0); // The doubled ones.
      expect(repair.counters.wrong).toBe(0);
      expect(repair.blocksWanted).toBe(0);
      expect(net.blocksInFlightMax).toBe(blocksInFlightMax);
      net.settle();
      settled(net);
      sound(world);
      for (const { from, bytes } of net.sent) {
        if (bytes[frame.at.command] !== Command.getBlocks) continue;
        expect(from).toBe(2);
        const requests = (bytes.length - headerSize) / 32;
        expect(requests).toBeLessThanOrEqual(blockRequestsMax);
      }
      // Both others were asked.
      expect(new Set(net.sent.filter(({ from }) => from === 2).map(({ to }) => to)).size).toBe(2);
    }
  });

  test("of a checkpoint that is fetched are no damage, and counted", () => {
    const net = new RepairNet(load, 16);
    net.run(16);
    const last = net.sites[2]!;
    last.fetching = true;
    const world = moveSite2(net);
    const count = world.liveAddresses().length;
    settled(net);
    for (let tick = 0; tick < 600; tick += 1) net.tick();
    const came = `${count} blocks came from other replicas`;
    expect(last.notes).toEqual([`${came} so far`]);
    last.repair.endFetch();
    for (let tick = 0; tick < 600; tick += 1) net.tick();
    expect(last.notes).toEqual([`${came} so far`, came]);

    const [address] = world.liveAddresses();
    world.file.flipBit(world.engine.grid.fileOffset(address!) + 4000, 1);
    last.repair.startScrubbing();
    for (let tick = 0; tick < 60 * count; tick += 1) {
      net.tick();
      while (world.file.tick());
    }
    expect(last.notes[2]).toMatch(/^warning: grid block .*; another replica is asked for it$/);
  });

  test("share requests", () => {
    const net = new RepairNet(load, 6);
    net.run(16);
    const world = moveSite2(net);
    const asked = net.sent.filter(({ bytes }) => bytes[frame.at.command] === Command.getBlocks);
    const { counters } = net.sites[2]!.repair;
    expect(counters.asked).toBe(world.liveAddresses().length);
    expect(asked.length).toBeLessThan(counters.asked / 2);
  });

  test("come from the other one when one does not answer, or cannot be reached", () => {
    for (const reachable of [true, false]) {
      const net = new RepairNet(load, 7);
      net.run(12);
      if (reachable) net.fate = ({ from, bytes }) => (from === 1 ? [] : [bytes]);
      else net.cut.add("2-1").add("1-2");
      moveSite2(net);
      const { counters } = net.sites[2]!.repair;
      if (reachable) expect(counters.expired).toBeGreaterThan(0);
      else expect(counters.expired).toBe(0);
      settled(net);
      sound(net.sites[2]!.world);
    }
  });

  test("that one says not to have come from the other one at once", () => {
    // Few blocks: a peer that has no message left for a denial says nothing, and is waited for.
    const net = new RepairNet({ ...load, runs: { cutRows: 2 ** 17 } }, 13);
    net.run(12);
    const other = net.sites[1]!.world;
    for (const address of other.liveAddresses()) {
      other.file.restore(other.engine.grid.fileOffset(address), new Uint8Array(blockSize));
    }
    let denied = false;
    net.fate = ({ bytes }) => {
      denied ||= net.sites[2]!.repair.isDenied;
      return [bytes, bytes];
    };
    const world = moveSite2(net);
    const { counters } = net.sites[2]!.repair;
    expect(counters.received).toBe(world.liveAddresses().length);
    expect(counters.denied).toBeGreaterThan(5);
    expect(counters.expired).toBe(0);
    expect(denied).toBe(false);
  });

  test("are not given up when a peer denies what it has, or what it was not asked for", () => {
    const net = new RepairNet(load, 14);
    net.run(12);
    net.fate = ({ from, to, bytes }) => {
      const words = new Uint32Array(bytes.buffer.slice(0));
      const request = words.slice(blockRequestAt(0), blockRequestAt(0) + 5);
      if (to === 2 && words[frame.word.size] === headerSize) return [];
      if (bytes[frame.at.command] !== Command.getBlocks) return [bytes];
      // Of what the other one was asked for; and what it was asked for itself, under another checksum.
      const lie = memoryBuffer(headerSize);
      for (const [liar, checksum] of [
        [to === 0 ? 1 : 0, request[0]!],
        [to, request[0]! ^ 1],
      ] as const) {
        request[0] = checksum;
        const { sent } = net;
        const asked = sent.length;
        writeNoBlock(lie.bytes, lie.words, clusterId, 0, liar, request, 0, request[4]!);
        net.sites[from]!.receive(lie.bytes);
        expect(sent.length).toBe(asked);
      }
      return [bytes];
    };
    moveSite2(net);
    const { repair } = net.sites[2]!;
    expect(repair.counters.denied).toBe(0);
    expect(repair.isDenied).toBe(false);

    // One that denies everything, over and over, only costs the time of asking it.
    const other = new RepairNet(load, 15);
    other.run(12);
    other.fate = ({ from, bytes }) => {
      if (from !== 1 || bytes[frame.at.command] !== Command.block) return [bytes];
      const lie = denial(bytes, 1);
      return [lie, lie, lie];
    };
    const world = moveSite2(other);
    expect(other.sites[2]!.repair.counters.denied).toBeGreaterThan(5);
    expect(other.sites[2]!.repair.counters.received).toBe(world.liveAddresses().length);
    settled(other);
    sound(world);
  });

  test("come from who denied them once, although the other one is silent", () => {
    const net = new RepairNet(load, 16);
    net.run(12);
    let denied = 0;
    net.fate = ({ from, bytes }) => {
      if (from === 0) return [];
      if (from !== 1 || bytes[frame.at.command] !== Command.block) return [bytes];
      if (denied > 0) return [bytes];
      denied += 1;
      return [denial(bytes, 1)];
    };
    const { world, repair } = net.sites[2]!;
    world.file.settle();
    const address = world.liveAddresses()[0]!;
    world.file.flipBit(world.engine.grid.fileOffset(address) + 4000, 1);
    repair.startScrubbing();
    for (const site of net.sites) site.world.file.onIdle = () => false;
    let wanted = false;
    for (let tick = 0; tick < 20_000 && !(wanted && repair.blocksWanted === 0); tick += 1) {
      net.tick();
      for (let turn = 0; turn < 20; turn += 1) {
        while (net.packets.length > 0) net.deliver();
        for (const site of net.sites) while (site.world.file.tick());
      }
      wanted ||= repair.blocksWanted > 0;
    }
    expect([denied, wanted, repair.blocksWanted]).toEqual([1, true, 0]);
    expect(repair.counters.expired).toBeGreaterThan(0);
  });

  test("that nobody has whole are not sent, and asked for on and on", () => {
    const net = new RepairNet(load, 8);
    net.run(12);
    const worlds = net.sites.map(({ world }) => world);
    const address = worlds[0]!.engine.transfers.refs.address(0);
    const at = worlds[0]!.engine.grid.fileOffset(address);
    const good = worlds[0]!.file.content(at, blockSize);
    for (const world of worlds) world.file.flipBit(at + 4000, 1);
    settled(net);
    const { repair, notes, world } = net.sites[2]!;
    const scrubber = new Scrubber(world.engine, () => {});
    while (repair.blocksWanted === 0) {
      scrubber.tick();
      while (world.file.tick());
    }
    expect(repair.isDenied).toBe(false);
    for (let tick = 0; tick < 3100; tick += 1) {
      // Both say so before a time-out could.
      if (tick === 20) expect([repair.isDenied, repair.counters.expired]).toEqual([true, 0]);
      net.tick();
      while (net.packets.length > 0) net.deliver();
      for (const other of worlds) while (other.file.tick());
    }
    expect(net.sent.some(({ bytes }) => bytes.length > blockSize)).toBe(false);
    expect(repair.stuckTicks).toBeGreaterThan(3000);
    expect(repair.counters.asked).toBeGreaterThan(50);
    const name = `grid block ${address} (transfers rows 0–509)`;
    expect(notes).toEqual([
      `warning: ${name}: checksum mismatch; another replica is asked for it`,
      `warning: no other replica has sent ${name} so far; asking on`,
    ]);
    worlds[0]!.file.restore(at, good);
    net.settle();
    expect(repair.stuckTicks).toBe(0);
    expect(repair.isDenied).toBe(false);
    for (let tick = 0; tick < 100; tick += 1) net.tick();
    expect(notes.at(-1)).toBe("1 block came from other replicas");
    while (world.file.tick());
    expect(world.integrity().damaged).toEqual([]);
  });

  test("are taken only when they are the ones that were asked for", () => {
    const net = new RepairNet(load, 9);
    net.run(12);
    const random = new Prng(9);
    const other = net.sites[1]!.world;
    const addresses = other.liveAddresses();
    // Site 1 lies: blocks of other addresses, flipped bits, checksums of its own.
    net.fate = ({ from, bytes }) => {
      if (from !== 1 || bytes[frame.at.command] !== Command.block) return [bytes];
      const words = new Uint32Array(bytes.buffer.slice(0));
      const address = words[blockHeader.word.address]!;
      const asked = words.slice(blockHeader.word.blockChecksum, blockHeader.word.blockChecksum + 4);
      const lie = new Uint8Array(words.buffer);
      const kind = random.below(4);
      let said = address;
      if (kind === 0) lie[headerSize + random.below(blockSize)]! ^= 1 << random.below(8);
      if (kind === 1) {
        const wrong = addresses[random.below(addresses.length)]!;
        if (wrong === address) return [];
        lie.set(other.file.content(other.engine.grid.fileOffset(wrong), blockSize), headerSize);
      }
      if (kind === 2) said = addresses[random.below(addresses.length)]!;
      if (kind === 3) asked[0]! ^= 1;
      if (kind === 2 && said === address) return [];
      writeBlock(lie, words, clusterId, 0, 1, asked, 0, said);
      return [lie];
    };
    const world = moveSite2(net);
    const { counters } = net.sites[2]!.repair;
    expect(counters.wrong).toBeGreaterThan(5);
    expect(counters.unasked).toBeGreaterThan(5);
    net.settle();
    settled(net);
    sound(world);
  });

  test("that rot where nobody reads are found and mended in the background", () => {
    const net = new RepairNet(load, 12);
    net.run(12);
    settled(net);
    const { repair, world } = net.sites[2]!;
    const addresses = world.liveAddresses();
    for (const address of addresses) {
      world.file.flipBit(world.engine.grid.fileOffset(address) + (address % blockSize), 3);
    }
    repair.startScrubbing();
    for (let tick = 0; tick < 2 * 50 * (addresses.length + 2); tick += 1) {
      net.tick();
      for (let turn = 0; turn < 4; turn += 1) {
        for (const site of net.sites) while (site.world.file.tick());
        while (net.packets.length > 0) net.deliver();
      }
    }
    expect(repair.counters.received).toBe(addresses.length);
    expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
  });

  test("that nobody asked for are dropped, and requests of nobody are not answered", () => {
    const net = new RepairNet(load, 10);
    net.run(8);
    settled(net);
    const [a, b] = net.sites;
    const address = b!.world.engine.transfers.refs.address(0);
    const message = memoryBuffer(headerSize + blockSize);
    const at = b!.world.engine.grid.fileOffset(address);
    message.bytes.set(b!.world.file.content(at, blockSize), headerSize);
    const checksum = message.words.slice(64, 68);
    writeBlock(message.bytes, message.words, clusterId, 0, 1, checksum, 0, address);
    const { writes } = a!.world.file;
    a!.receive(message.bytes);
    while (a!.world.file.tick());
    expect(a!.repair.counters.unasked).toBe(1);
    expect(a!.world.file.writes).toBe(writes);

    const request = memoryBuffer(headerSize + 4 * 32);
    const ask = (from: number): number => {
      request.words.fill(0);
      for (let index = 0; index < 4; index += 1) {
        const entry = blockRequestAt(index);
        request.words.set(checksum, entry);
        request.words[entry + 4] = address;
      }
      request.words[frame.word.size] = headerSize + 4 * 32;
      request.words.set(clusterId, frame.word.cluster);
      request.bytes[frame.at.command] = Command.getBlocks;
      request.bytes[frame.at.replica] = from;
      sealHeader(request.bytes, request.words, 0);
      const sent = net.sent.length;
      b!.receive(request.bytes);
      for (let turn = 0; turn < 20; turn += 1) {
        while (b!.world.file.tick());
        while (net.packets.length > 0) net.deliver();
      }
      return net.sent.length - sent;
    };
    // The same block four times over is sent once, and again when it has gone out.
    expect(ask(0)).toBe(1);
    expect(ask(0)).toBe(1);
    expect(ask(1)).toBe(0); // Itself.
    expect(ask(3)).toBe(0); // Not of this cluster.
    expect(ask(11)).toBe(0);
  });

  test("that can not be there are denied, also while others stand in line", () => {
    const net = new RepairNet(load, 17);
    net.run(16);
    settled(net);
    const [, b] = net.sites;
    const { grid } = b!.world.engine;
    const live = b!.world.liveAddresses();
    const none = grid.freeSet.blocksMax + 1;
    const request = memoryBuffer(headerSize + 4 * 32);
    const asked = [live[0]!, live[1]!, live[2]!, none];
    for (const [index, address] of asked.entries()) {
      const at = blockRequestAt(index);
      if (address !== none) {
        request.bytes.set(b!.world.file.content(grid.fileOffset(address), 16), at * 4);
      }
      request.words[at + 4] = address;
    }
    writeGetBlocks(request.bytes, request.words, clusterId, 0, 0, asked.length);
    b!.receive(request.bytes);
    // It is written when its turn to be read comes, for another block.
    const changed = live[2]!;
    grid.isUnwritten = (address) => address === changed;
    const answers = () =>
      net.sent.map(({ bytes }) => [
        new Uint32Array(bytes.buffer)[blockHeader.word.address]!,
        bytes.length > headerSize,
      ]);
    expect(answers()).toEqual([[none, false]]);
    for (let turn = 0; turn < 20; turn += 1) {
      while (b!.world.file.tick());
      while (net.packets.length > 0) net.deliver();
    }
    expect(answers().slice(1).sort()).toEqual([live[0], live[1]].map((at) => [at, true]).sort());
  });

  test("wait in a line of limited length while a peer does not take what it asked for", () => {
    const net = new RepairNet(load, 11);
    net.run(16);
    settled(net);
    const [, b] = net.sites;
    const addresses = b!.world.liveAddresses();
    const request = memoryBuffer(headerSize + 32);
    const grid = b!.world.engine.grid;
    for (let round = 0; round < 100; round += 1) {
      const address = addresses[round % addresses.length]!;
      const content = b!.world.file.content(grid.fileOffset(address), 16);
      request.words.fill(0);
      request.bytes.set(content, blockRequestAt(0) * 4);
      request.words[blockRequestAt(0) + 4] = address;
      request.words[frame.word.size] = headerSize + 32;
      request.words.set(clusterId, frame.word.cluster);
      request.bytes[frame.at.command] = Command.getBlocks;
      sealHeader(request.bytes, request.words, 0);
      b!.receive(request.bytes);
      while (b!.world.file.tick());
      expect(net.packets.length).toBeLessThanOrEqual(blocksInFlightMax);
    }
    let delivered = 0;
    while (net.packets.length > 0) {
      net.deliver();
      delivered += 1;
      while (b!.world.file.tick());
    }
    expect(delivered).toBe(32 + blocksInFlightMax);
  });
});

describe("kept replies", () => {
  const fields = new ReplyFields();
  fields.cluster.set(clusterId);

  function client(id: number): Uint32Array {
    return new Uint32Array([id, 7, 0, id]);
  }

  function execute(table: ClientSessions, id: number, op: number, size: number): number {
    const reply = memoryBuffer(replySlotSize);
    let slot = table.find(client(id), 0);
    if (slot === -1) slot = table.register(client(id), 0, op);
    fields.client.set(client(id));
    fields.op = op;
    fields.request = op;
    fields.operation = 138;
    fields.release = 0x1109;
    fields.timestampLow = op;
    fields.bodySize = size;
    reply.bytes.fill(op & 0xff, headerSize, headerSize + size);
    writeReply(reply.bytes, reply.words, 0, fields);
    table.setReply(slot, reply, true);
    return slot;
  }

  /** All sites have the same sessions; site 2 has lost its replies. */
  function lost(seed: number): RepairNet {
    const net = new RepairNet({ ...load, rowsMax: 6 }, seed);
    net.run(4);
    for (const { sessions } of net.sites) {
      for (let id = 1; id <= 6; id += 1) execute(sessions, id, 10 + id, id * 30_000);
    }
    const { sessions } = net.sites[2]!;
    sessions.snapshot(new Uint32Array(sessions.snapshotWords));
    sessions.replies.bytes.fill(0);
    for (let slot = 0; slot < 6; slot += 1) sessions.markReplyMissing(slot);
    return net;
  }

  test("come from the others, over a bad network", () => {
    for (let seed = 1; seed <= 5; seed += 1) {
      const net = lost(seed);
      net.fate = lossy(seed);
      net.settle();
      const [first, , last] = net.sites;
      expect(last!.sessions.missingReplies).toBe(0);
      expect(last!.repair.replies.counters.received).toBe(6);
      const same = Buffer.compare(last!.sessions.replies.bytes, first!.sessions.replies.bytes);
      expect(same).toBe(0);
      for (let slot = 0; slot < 6; slot += 1) {
        expect(last!.sessions.replyMissing(slot)).toBe(false);
        expect(last!.sessions.touchedSinceSnapshot(slot)).toBe(true);
      }
    }
  });

  test("are taken only when they are the session's latest, whole", () => {
    const net = lost(6);
    const [first, second, last] = net.sites;
    // What the others have is newer: it is not what site 2 misses.
    execute(first!.sessions, 3, 90, 500);
    execute(second!.sessions, 3, 90, 500);
    for (let turn = 0; turn < 2000; turn += 1) net.advance();
    const slot = last!.sessions.find(client(3), 0);
    expect(last!.sessions.missingReplies).toBe(1);
    expect(last!.sessions.replyMissing(slot)).toBe(true);

    const reply = first!.sessions.replies.bytes.slice(slot * replySlotSize);
    const size = first!.sessions.replySize(slot);
    last!.receive(reply.subarray(0, size)); // Newer.
    expect(last!.repair.replies.counters.refused).toBeGreaterThan(0);
    expect(last!.sessions.replyMissing(slot)).toBe(true);
    // Then it executes that op itself.
    execute(last!.sessions, 3, 90, 500);
    expect(last!.sessions.missingReplies).toBe(0);
    const asked = last!.repair.replies.counters.asked;
    for (let tick = 0; tick < 200; tick += 1) net.tick();
    expect(last!.repair.replies.counters.asked).toBe(asked);
  });

  test("with another body are refused, even under the right header", () => {
    const net = lost(7);
    const [first, , last] = net.sites;
    const slot = 2;
    const size = first!.sessions.replySize(slot);
    const reply = first!.sessions.replies.bytes.slice(slot * replySlotSize).subarray(0, size);
    const bad = reply.slice();
    bad[headerSize + 5]! ^= 1;
    last!.receive(bad);
    expect(last!.sessions.replyMissing(slot)).toBe(true);
    last!.receive(reply);
    expect(last!.sessions.replyMissing(slot)).toBe(false);
    last!.receive(reply); // Nobody misses it any more.
    expect(last!.repair.replies.counters).toMatchObject({ received: 1, refused: 2 });
  });

  test("are not asked of a replica that misses them too", () => {
    const net = lost(8);
    const [, second, last] = net.sites;
    net.cut.add("2-0");
    for (let slot = 0; slot < 6; slot += 1) second!.sessions.markReplyMissing(slot);
    net.cut.add("1-0");
    for (let turn = 0; turn < 2000; turn += 1) net.advance();
    expect(last!.sessions.missingReplies).toBe(6);
    net.cut.clear();
    net.settle();
    expect(last!.sessions.missingReplies).toBe(0);
    expect(second!.sessions.missingReplies).toBe(0);
  });
});
