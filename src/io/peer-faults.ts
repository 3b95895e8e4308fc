/**
 * What a mistake in a cluster's configuration looks like from the message bus, and the sentence that
 * names it: data files of two clusters, two processes with one data file's index, addresses that
 * replicas have in different orders. Such a peer tries again for ever, so each sentence is told once
 * a minute at most.
 */
import { CloseCause } from "./bus-counters.ts";
import { type Connection, Peer } from "./connection.ts";

/** The same sentence is not told again for so long. Ticks of 10 ms: a minute. */
const silenceTicks = 6000;
/** Sentences that are remembered; more would be a flood, which other limits hold back. */
const rememberedMax = 64;
/** A replica that restarts replaces its connection once; two processes do so in turns. */
const replacementsMax = 3;
const replacementTicks = 1000;
/** Dialled connections in a row that the other side ended without a word. */
const silentEndsMax = 5;

const sameOrder =
  "give --addresses with the same replicas in the same order everywhere, in that of their indexes";

/** In decimal, as users write it. */
export function clusterText(words: Uint32Array): string {
  let value = 0n;
  for (let word = 3; word >= 0; word -= 1) value = (value << 32n) | BigInt(words[word]!);
  return value.toString();
}

export class PeerFaults {
  /** When each sentence was told last. */
  private readonly told = new Map<string, number>();
  /** Per replica: replacements since `replacedSince`. */
  private readonly replacements: number[];
  private readonly replacedSince: number[];
  /** Per replica: silent ends in a row. */
  private readonly silentEnds: number[];

  /**
   * @param replicaCount - Replicas and standbys.
   * @param addressOf - Where a replica above this one is dialled.
   */
  constructor(
    private readonly cluster: Uint32Array,
    private readonly replica: number,
    private readonly replicaCount: number,
    private readonly addressOf: (replica: number) => string,
  ) {
    this.replacements = Array.from({ length: replicaCount }, () => 0);
    this.replacedSince = Array.from({ length: replicaCount }, () => 0);
    this.silentEnds = Array.from({ length: replicaCount }, () => 0);
  }

  /**
   * A connection closes; it still knows who it was.
   * @returns A sentence, "" when it was told a short time ago, or null: no such mistake.
   */
  onClosing(connection: Connection, cause: number, ticks: number): string | null {
    const sentence = this.sentenceOf(connection, cause, ticks);
    if (sentence === null) return null;
    const last = this.told.get(sentence);
    if (last !== undefined && ticks - last < silenceTicks) return "";
    if (this.told.size >= rememberedMax) this.told.clear();
    this.told.set(sentence, ticks);
    return sentence;
  }

  private sentenceOf(connection: Connection, cause: number, ticks: number): string | null {
    switch (cause) {
      case CloseCause.cluster:
        return this.otherCluster(connection);
      case CloseCause.replicaIndex:
      case CloseCause.peerContradiction:
        return this.otherIndex(connection);
      case CloseCause.replaced:
        return connection.peer === Peer.replica ? this.replaced(connection.replica, ticks) : null;
      case CloseCause.peerClosed:
      case CloseCause.socketError:
        return connection.dialled ? this.ended(connection) : null;
      default:
        return null;
    }
  }

  private otherCluster(connection: Connection): string | null {
    const { dialled, stated } = connection;
    if (!dialled && stated.replica === -1) return null; // A client's.
    const peer = dialled
      ? `the replica at ${this.addressOf(connection.replica)}`
      : `a replica with index ${stated.replica} that has connected`;
    return (
      `${peer} is of cluster ${clusterText(stated.cluster)}, and this one of cluster ` +
      `${clusterText(this.cluster)}; one of them has the data file or the addresses of another cluster.`
    );
  }

  private otherIndex(connection: Connection): string | null {
    const { dialled, stated } = connection;
    // A peer that was who it should be, and then spoke as somebody else, is broken.
    if (stated.replica === -1 || stated.replica === connection.replica) return null;
    const where = dialled
      ? `at ${this.addressOf(connection.replica)} answers`
      : "a process has connected that is";
    if (stated.replica === this.replica) {
      return (
        `${where} replica ${stated.replica}, which is this one; two processes have data files of the ` +
        `same index, or the addresses of one of them have another order: ${sameOrder}.`
      );
    }
    if (stated.replica >= this.replicaCount) {
      return (
        `${where} replica ${stated.replica}, but this cluster has ${this.replicaCount} replicas; its data ` +
        "file was formatted with another --replica-count."
      );
    }
    if (dialled) {
      return (
        `${where} replica ${stated.replica}, where replica ${connection.replica} should be; ` +
        `${sameOrder}.`
      );
    }
    if (stated.replica < this.replica) return null;
    return (
      `replica ${stated.replica} has connected to this one, replica ${this.replica}, which connects to ` +
      `it; ${sameOrder}.`
    );
  }

  private replaced(replica: number, ticks: number): string | null {
    if (ticks - this.replacedSince[replica]! > replacementTicks) {
      this.replacedSince[replica] = ticks;
      this.replacements[replica] = 0;
    }
    this.replacements[replica]! += 1;
    if (this.replacements[replica]! < replacementsMax) return null;
    return (
      `two processes say by turns that they are replica ${replica}; stop the one that has the wrong ` +
      "data file, or a copy of the other's."
    );
  }

  private ended(connection: Connection): string | null {
    const { replica } = connection;
    if (connection.messages > 0) {
      this.silentEnds[replica] = 0;
      return null;
    }
    this.silentEnds[replica]! += 1;
    if (this.silentEnds[replica]! < silentEndsMax) return null;
    return (
      `replica ${replica} at ${this.addressOf(replica)} ends every connection without a word; its own ` +
      "log says why, if it is a replica of this cluster."
    );
  }
}
