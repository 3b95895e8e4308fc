/**
 * What clients do that they should not, or that networks do to them. Nothing of it may ever be
 * executed, and nothing of it may keep others from being served:
 *
 * - strays: requests that a replica must drop in silence (a number too far on, a parent that is not
 *   the last reply's context, a session of the future, a timestamp of their own);
 * - offences: requests that a primary must answer with an eviction, for a known reason.
 *
 * How much of it there is each seed draws anew.
 */
import type { Prng } from "../../../src/core/prng.ts";
import { resealHeader } from "../../../src/wire/build.ts";
import { frame, requestHeader } from "../../../src/wire/header.ts";
import { releaseNumber } from "../../../src/wire/release.ts";
import { encodeMultiBatch } from "../../reference/codec.ts";
import { Operation } from "../../reference/operations.ts";
import type { ClientSession } from "./session.ts";

export interface Manners {
  /** Per answered request: the shares of those after which something older is sent again. */
  readonly echoShare: number;
  /** … a stray is sent … */
  readonly strayShare: number;
  /** … an offence takes the place of the next request. */
  readonly offenceShare: number;
  /** Per request: the share that the client does not live to see answered. */
  readonly crashShare: number;
  /** Whether requests also go to a replica that is not the primary, as the official client does. */
  readonly hedges: boolean;
  /**
   * Clients that ask at multiples of this time ask together, so that their requests share prepares
   * and contend. Microseconds; 0: each at its own time.
   */
  readonly beatUs: number;
  /** How often a client pings all replicas. Microseconds. */
  readonly pingUs: number;
}

export function drawManners(random: Prng): Manners {
  const share = (usual: number): number => (random.chance(0.4) ? 0 : usual * random.range(1, 4));
  return {
    echoShare: share(0.03),
    strayShare: share(0.01),
    offenceShare: share(0.002),
    crashShare: share(0.004),
    hedges: random.chance(0.7),
    beatUs: random.chance(0.4) ? random.range(100, 3000) * 1000 : 0,
    pingUs: random.range(500, 10_000) * 1000,
  };
}

/** Releases of clients that are served; each session keeps to one. */
const releases = [releaseNumber(0, 17, 9), releaseNumber(0, 17, 0), releaseNumber(0, 16, 4)];

export function drawRelease(random: Prng): number {
  return random.chance(0.8) ? releases[0]! : releases[random.below(releases.length)]!;
}

const noParent = new Uint32Array(4);

/** A request that must be dropped; sealed. Null while the client has no session. */
export function stray(session: ClientSession, random: Prng): Uint8Array | null {
  if (session.session === 0) return null;
  const { number } = session;
  const operation = Operation.lookupAccounts;
  const body = encodeMultiBatch(16, [new Uint8Array(16 * random.below(3))]);
  const build = (request: number, of: number, parent: Uint32Array): Uint8Array =>
    session.build(operation, body, request, of, parent);
  const foreign = session.context.map((word) => word ^ random.u32());
  switch (random.below(7)) {
    case 0:
      return build(number + random.range(3, 1000), session.session, session.context);
    case 1:
      return build(number + 1, session.session, foreign);
    case 2:
      return build(number + 1, session.session + random.range(1, 1e6), session.context);
    case 3:
      // Answered long ago, with another body and so another checksum.
      return number === 0 ? null : build(number, session.session, foreign);
    case 4:
      return session.build(Operation.noop, noBody, number + 1, session.session, noParent);
    case 5:
      // As good as the next request, but for a timestamp of its own.
      return withWord(build(number + 1, session.session, session.context), timestampWord, 1);
    default:
      // … or for a view that no replica has come to.
      return withWord(build(number + 1, session.session, session.context), viewWord, 2 ** 31);
  }
}

const timestampWord = requestHeader.word.timestamp;
const viewWord = frame.word.view;

function withWord(request: Uint8Array, word: number, value: number): Uint8Array {
  new Uint32Array(request.buffer)[word] = value;
  resealHeader(request, 0);
  return request;
}

/** The protocol has it; no replica serves it. */
const operationReconfigure = 3;
const noBody = new Uint8Array(0);

export interface Offence {
  /** Sealed. */
  readonly request: Uint8Array;
  /** The reason that the eviction must give; or 1, if the session has gone by then. */
  readonly reason: number;
}

/** A request that gets its client evicted: in place of the session's next one. */
export function offence(session: ClientSession, random: Prng): Offence {
  if (session.session === 0) return greedyRegistration(session);
  const { release, number, context } = session;
  const lookup = encodeMultiBatch(16, [new Uint8Array(16)]);
  const build = (reason: number, operation: number, body: Uint8Array, of = release): Offence => {
    const request = session.build(operation, body, number + 1, session.session, context, of);
    return { request, reason };
  };
  switch (random.below(8)) {
    case 0:
      return build(2, Operation.lookupAccounts, lookup, releaseNumber(0, 15, 6));
    case 1:
      return build(3, Operation.lookupAccounts, lookup, releaseNumber(0, 18, 0));
    case 2:
      return build(4, Operation.createTransfers + random.range(1, 100), lookup);
    case 3:
      // The pulse's number in the state machine, which only replicas use.
      return build(4, 128, noBody);
    case 7:
      return build(4, operationReconfigure, new Uint8Array(256));
    case 4:
      // Not whole events.
      return build(5, Operation.createTransfers, lookup);
    case 5:
      // Two filters in a query that takes one.
      return build(5, Operation.queryAccountsUnbatched, new Uint8Array(128));
    default: {
      const other = release === releases[0] ? releases[1]! : releases[0]!;
      return build(8, Operation.lookupAccounts, lookup, other);
    }
  }
}

/** A registration that claims a limit of its own. */
function greedyRegistration(session: ClientSession): Offence {
  const body = new Uint8Array(256);
  body[0] = 1;
  return { request: session.build(Operation.register, body, 0, 0, noParent), reason: 5 };
}
