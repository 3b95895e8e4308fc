/**
 * Broken frames against the bus: for each stream a model, written from protocol/wire.md §1.1, §3,
 * §4 and §8 (for messages between replicas: replica-rule-model.ts) and sharing nothing with the
 * bus but the checksum function, says which messages arrive and whether the connection is closed.
 * Beside it a good connection has to go on working.
 */
import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { checksum } from "../../src/native/checksum.ts";
import { resealHeader, sealHeader } from "../../src/wire/build.ts";
import { BusHarness, changed, internal, ping, request } from "./bus-harness.ts";
import { type Frame, frameFrom, hex, readVector, vectors } from "./bytes.ts";
import type { FakePeer } from "./fake-io.ts";
import { replicaRuleModel } from "./replica-rule-model.ts";

const framesMin = 100_000;
const own = 1;
const replicaCount = 3;
const clusterHex = "0b00000016000000210000002c000000";

function zero(bytes: Uint8Array, from: number, to: number): boolean {
  return bytes.subarray(from, to).every((byte) => byte === 0);
}

function sumOf(bytes: Uint8Array): string {
  const target = new Uint8Array(16);
  checksum(target, 0, bytes, 0, bytes.length);
  return hex(target);
}

function ruleHolds(b: Uint8Array): boolean {
  const view = new DataView(b.buffer, b.byteOffset, b.length);
  const size = view.getUint32(96, true);
  const release = view.getUint32(108, true);
  const command = b[114]!;
  if (!zero(b, 16, 32) || !zero(b, 48, 80) || !zero(b, 100, 104)) return false;
  if (!zero(b, 112, 114) || !zero(b, 116, 128)) return false;
  if ([12, 21, 22, 23].includes(command)) return false;
  if (command === 3) {
    if (size !== 256 || !zero(b, 104, 108) || release === 0 || b[115] !== 0) return false;
    return !zero(b, 128, 144) && zero(b, 160, 256);
  }
  if (command === 4) return size === 256 && release !== 0 && zero(b, 136, 256);
  if (command === 18) {
    if (size !== 256 || release === 0 || zero(b, 128, 144) || !zero(b, 144, 255)) return false;
    return b[255]! >= 1 && b[255]! <= 8;
  }
  if (command === 8) {
    if (release === 0 || !zero(b, 144, 160) || !zero(b, 176, 192) || zero(b, 192, 208))
      return false;
    if (hex(b.subarray(208, 216)) !== hex(b.subarray(216, 224)) || zero(b, 216, 224)) return false;
    if (zero(b, 224, 232) || !zero(b, 237, 256)) return false;
    return b[236] === 2 ? zero(b, 232, 236) && size === 320 : !zero(b, 232, 236);
  }
  if (command !== 5) return replicaRuleModel(b);
  if (release === 0 || b[115] !== 0 || !zero(b, 144, 160) || zero(b, 160, 176)) return false;
  if (!zero(b, 197, 200) || !zero(b, 204, 256)) return false;
  const operation = b[196]!;
  if (operation === 2) {
    const blank = zero(b, 128, 144) && zero(b, 176, 184) && zero(b, 192, 196);
    return blank && (size === 512 || size === 256);
  }
  if (operation !== 3 && operation !== 6 && operation < 128) return false;
  if (zero(b, 176, 184) || zero(b, 192, 196)) return false;
  if (operation === 3) return size === 512;
  return operation !== 6 || size === 256;
}

/** One connection as the protocol describes it. */
class ConnectionModel {
  readonly delivered: string[] = [];
  closed = false;
  private peer = "";
  private certain = false;

  receive(stream: Uint8Array): void {
    let at = 0;
    while (!this.closed && stream.length - at >= 256) {
      const header = stream.subarray(at, at + 256);
      const size = new DataView(header.buffer, header.byteOffset, 256).getUint32(96, true);
      const command = header[114]!;
      if (sumOf(header.subarray(16)) !== hex(header.subarray(0, 16))) this.closed = true;
      else if (command < 1 || command > 24) this.closed = true;
      else if (size < 256 || size > 1_048_576) this.closed = true;
      else if (hex(header.subarray(80, 96)) !== clusterHex) this.closed = true;
      if (this.closed || stream.length - at < size) return;
      const body = stream.subarray(at + 256, at + size);
      if (sumOf(body) !== hex(header.subarray(32, 48))) this.closed = true;
      if (!this.closed) this.message(stream.subarray(at, at + size), command);
      at += size;
    }
  }

  private message(message: Uint8Array, command: number): void {
    if (!this.identify(message, command)) {
      this.closed = true;
      return;
    }
    // Pongs and evictions are for clients.
    if (ruleHolds(message) && command !== 4 && command !== 18) {
      this.delivered.push(hex(message.subarray(0, 16)));
    }
  }

  private identify(header: Uint8Array, command: number): boolean {
    if (command === 5) {
      if (this.peer === "" && !zero(header, 160, 176)) {
        this.peer = `client ${hex(header.subarray(160, 176))}`;
      }
      return true;
    }
    if (command === 3) {
      if (zero(header, 128, 144)) return true;
      return this.becomes(`client ${hex(header.subarray(128, 144))}`);
    }
    if ([6, 8, 12, 20, 21, 22, 23].includes(command)) return true;
    const replica = header[115]!;
    if (replica >= replicaCount || replica >= own) return false;
    if (this.peer.startsWith("client") && !this.certain) this.peer = "";
    return this.becomes(`replica ${replica}`);
  }

  private becomes(peer: string): boolean {
    if (this.peer !== "" && this.peer !== peer) return false;
    this.peer = peer;
    this.certain = true;
    return true;
  }
}

const interesting = [0, 1, 2, 24, 25, 127, 128, 255];
const interestingSizes = [
  0,
  1,
  255,
  256,
  257,
  320,
  512,
  16_384,
  16_385,
  1_048_576,
  1_048_577,
  2 ** 31,
  2 ** 32 - 1,
];
/** Offsets of fields worth more attention than the rest. */
const fields = [
  80, 96, 97, 98, 99, 100, 104, 108, 112, 114, 115, 116, 128, 144, 160, 176, 184, 192, 196, 197,
  204, 208, 216, 232, 236, 255,
];

class Mutator {
  /** Frames broken or changed so far. */
  frames = 0;
  private client = 1000n;
  private readonly seeds: Frame[];

  constructor(private readonly random: Prng) {
    // Captured messages, made to be of this cluster.
    this.seeds = vectors
      .map((vector) => readVector(vector.file))
      .map((frame) => changed(frame, (target) => target.words.set([11, 22, 33, 44], 20)));
  }

  /** A stream of a few frames, at least one of them changed. */
  stream(): Uint8Array {
    const { random } = this;
    this.client += 1n;
    const parts: Uint8Array[] = [];
    const count = random.range(1, 4);
    const bad = random.below(count);
    for (let index = 0; index < count; index += 1) {
      const good = this.good(index + 1);
      const changedToo = index === bad || random.chance(0.3);
      if (changedToo) this.frames += 1;
      parts.push(changedToo ? this.mutated(good) : good.bytes);
    }
    return Buffer.concat(parts);
  }

  private good(number: number): Frame {
    const { random } = this;
    switch (random.below(10)) {
      case 0:
      case 1:
        return ping(this.client, number);
      case 2:
      case 3:
      case 4:
        return request(this.client, number, random.below(random.chance(0.03) ? 40_000 : 700));
      case 5:
      case 6:
        return internal(random.range(1, 24), random.chance(0.8) ? 0 : random.below(4));
      default:
        return this.seeds[random.below(this.seeds.length)]!;
    }
  }

  private mutated(good: Frame): Uint8Array {
    const { random } = this;
    const target = frameFrom(good.bytes);
    const { bytes, words } = target;
    const anywhere = random.below(bytes.length);
    switch (random.below(11)) {
      case 0:
        bytes[anywhere]! ^= 1 << random.below(8);
        return bytes;
      case 1: // A header of any content whose checksum is right.
        bytes[random.range(16, 255)] = random.below(256);
        resealHeader(bytes, 0);
        return bytes;
      case 2:
      case 3:
        bytes[fields[random.below(fields.length)]!] =
          interesting[random.below(interesting.length)]!;
        resealHeader(bytes, 0);
        return bytes;
      case 4:
        words[24] = interestingSizes[random.below(interestingSizes.length)]!;
        resealHeader(bytes, 0);
        return bytes;
      case 5: // The size and the body that goes with it.
        words[24] = Math.min(bytes.length, 256 + random.below(bytes.length - 255));
        sealHeader(bytes, words, 0);
        return random.chance(0.5) ? bytes.subarray(0, words[24]) : bytes;
      case 6:
        bytes[114] = random.below(30);
        bytes[115] = random.below(4);
        resealHeader(bytes, 0);
        return bytes;
      case 7:
        return bytes.subarray(0, anywhere);
      case 8:
        return Buffer.concat([
          bytes.subarray(0, anywhere),
          Uint8Array.of(random.below(256)),
          bytes.subarray(anywhere),
        ]);
      case 9:
        return Buffer.concat([
          bytes.subarray(0, anywhere),
          this.good(1).bytes.subarray(random.below(256)),
        ]);
      default: {
        const noise = new Uint8Array(random.below(600));
        for (let at = 0; at < noise.length; at += 1) noise[at] = random.below(256);
        return noise;
      }
    }
  }
}

test("a hundred thousand changed frames hurt nobody but their sender", { timeout: 600_000 }, () => {
  const random = new Prng(2024);
  const harness = new BusHarness({ seed: 7, small: 16, bus: { replica: own, replicaCount } });
  harness.recording = false;
  harness.answer = false;
  harness.io.stallChance = 0.02;
  harness.io.fragmentChance = 0.3;
  let delivered: string[] = [];
  let pongs = 0;
  const goodClient = 3n;
  harness.onDelivered = (message, connection) => {
    if (connection.client[0] === 3) {
      pongs += 1;
      harness.bus.sendOn(connection, message);
    } else {
      delivered.push(hex(message.bytes.subarray(0, 16)));
    }
  };
  const good = harness.dial();
  const checkGood = (): void => {
    harness.pingPong(good, goodClient);
    expect(good.ended).toBe(false);
  };
  checkGood();

  const mutator = new Mutator(random);
  const outcomes = { closed: 0, open: 0, delivered: 0 };
  let streams = 0;
  while (mutator.frames < framesMin) {
    streams += 1;
    const stream = mutator.stream();
    const model = new ConnectionModel();
    model.receive(stream);
    delivered = [];
    const peer: FakePeer = harness.dial();
    harness.feed(peer, stream);
    harness.until(() => peer.ended || (peer.drained && !model.closed), "the stream was taken");
    if (peer.ended !== model.closed || delivered.join() !== model.delivered.join()) {
      expect({ streams, closed: peer.ended, delivered, stream: hex(stream) }).toEqual({
        streams,
        closed: model.closed,
        delivered: model.delivered,
        stream: hex(stream),
      });
    }
    outcomes.delivered += delivered.length;
    if (model.closed) outcomes.closed += 1;
    else outcomes.open += 1;
    if (random.chance(0.5)) peer.end();
    else peer.reset();
    harness.until(() => harness.bus.connectionsUsed === 1, "the bad one is gone");
    if (streams % 50 === 0) checkGood();
    if (streams % 1000 === 0) harness.ticks(1);
  }
  checkGood();
  expect(pongs).toBeGreaterThan(streams / 50);
  // The mix is worth something: neither all are refused nor all accepted.
  expect(outcomes.closed).toBeGreaterThan(streams * 0.3);
  expect(outcomes.open).toBeGreaterThan(streams * 0.1);
  expect(outcomes.delivered).toBeGreaterThan(streams * 0.5);
  harness.onDelivered = null;
  harness.finish();
});
