/**
 * What a primary in normal operation does with a client's request (protocol/wire.md §7.3), as one
 * decision without effects: go on, drop, repeat the stored reply, run a query again, or evict.
 * The order of the checks is part of the contract.
 */
import { headerSize } from "../core/limits.ts";
import { u64Compare, u128Equal } from "../core/u128.ts";
import type { Message } from "../io/message-pool.ts";
import type { StateMachine } from "../ledger/state-machine.ts";
import { EvictionReason, frame, replyHeader, requestHeader } from "../wire/header.ts";
import { Operation, operationMutates } from "../wire/operations.ts";
import { clientReleaseMax, clientReleaseMin } from "../wire/release.ts";
import type { ClientSessions } from "./client-sessions.ts";

/** Verdicts above `evict` are `evict` + the eviction's reason. */
export const Verdict = {
  accept: 0,
  drop: 1,
  /** The request has been executed: send its stored reply. */
  repeatReply: 2,
  /** The request has been executed and only read: run it again. */
  repeatQuery: 3,
  evict: 16,
} as const;

export interface RequestContext {
  readonly view: number;
  readonly sessions: ClientSessions;
  readonly stateMachine: StateMachine;
  /** Most bytes of a request, header included. */
  readonly requestSizeMax: number;
  /** True when the client has a request in the queue or in the pipeline. */
  inFlight(words: Uint32Array, clientAt: number): boolean;
}

/** Bytes of a `register` request: header and a body of 256 bytes. */
const registerSize = 512;

/** @param request - A request whose frame and header rules hold (wire/frame-check.ts). */
export function judgeRequest(request: Message, context: RequestContext): number {
  const words = request.words;
  if (words[frame.word.view]! > context.view) return Verdict.drop;
  const fault = evictionBeforeSession(request, context);
  if (fault !== 0) return Verdict.evict + fault;

  const clientAt = requestHeader.word.client;
  const operation = request.bytes[requestHeader.at.operation]!;
  const slot = context.sessions.find(words, clientAt);
  if (slot === -1) {
    if (context.inFlight(words, clientAt)) return Verdict.drop;
    if (operation === Operation.register) return timestampVerdict(words);
    return Verdict.evict + EvictionReason.noSession;
  }
  const verdict = judgeSession(request, slot, context);
  if (verdict !== Verdict.accept) return verdict;
  if (context.inFlight(words, clientAt)) return Verdict.drop;
  return timestampVerdict(words);
}

function evictionBeforeSession(request: Message, context: RequestContext): number {
  const words = request.words;
  const release = words[frame.word.release]!;
  const size = words[frame.word.size]!;
  const operation = request.bytes[requestHeader.at.operation]!;
  if (release < clientReleaseMin) return EvictionReason.clientReleaseTooLow;
  if (release > clientReleaseMax) return EvictionReason.clientReleaseTooHigh;
  if (size > context.requestSizeMax) return EvictionReason.invalidRequestBodySize;
  if (operation === Operation.register) {
    return registerFault(request);
  }
  if (operation === Operation.noop) return 0;
  if (operation < 128) return EvictionReason.invalidRequestOperation;
  return context.stateMachine.validate(
    operation,
    words,
    request.bytes,
    headerSize,
    size - headerSize,
  );
}

/** The primary writes its own limit into the body, so it must come with zeros. */
function registerFault(request: Message): number {
  if (request.words[frame.word.size] !== registerSize) return EvictionReason.invalidRequestBodySize;
  for (let word = headerSize / 4; word < registerSize / 4; word += 1) {
    if (request.words[word] !== 0) return EvictionReason.invalidRequestBody;
  }
  return 0;
}

function judgeSession(request: Message, slot: number, context: RequestContext): number {
  const words = request.words;
  const sessions = context.sessions;
  const operation = request.bytes[requestHeader.at.operation]!;
  const kept = sessions.headerWordsOf;
  const at = sessions.headerAt(slot);
  if (operation !== Operation.register) {
    const session = sessions.session(slot);
    const order = u64Compare(
      session % 0x1_0000_0000,
      Math.floor(session / 0x1_0000_0000),
      words[requestHeader.word.session]!,
      words[requestHeader.word.session + 1]!,
    );
    if (order > 0) return Verdict.evict + EvictionReason.sessionTooLow;
    if (order < 0) return Verdict.drop;
  }
  if (sessions.release(slot) !== words[frame.word.release]) {
    return Verdict.evict + EvictionReason.sessionReleaseMismatch;
  }
  const number = words[requestHeader.word.request]!;
  const executed = sessions.request(slot);
  if (executed > number) return Verdict.drop;
  if (executed === number) {
    const same = u128Equal(kept, at + replyHeader.word.requestChecksum, words, frame.word.checksum);
    if (!same) return Verdict.drop;
    return operation >= 128 && operationMutates[operation] === 0
      ? Verdict.repeatQuery
      : Verdict.repeatReply;
  }
  if (executed + 1 !== number) return Verdict.drop;
  return u128Equal(words, requestHeader.word.parent, kept, at + replyHeader.word.context)
    ? Verdict.accept
    : Verdict.drop;
}

/** A request with a timestamp of its own belongs to a recovery mode that we do not offer. */
function timestampVerdict(words: Uint32Array): number {
  const at = requestHeader.word.timestamp;
  return (words[at]! | words[at + 1]!) === 0 ? Verdict.accept : Verdict.drop;
}
