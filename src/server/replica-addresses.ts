/**
 * The addresses of a cluster's replicas, as the user gave them: numbers, or names of hosts. A name is
 * looked up before this replica listens on it, and again after each connection to it that failed:
 * where names stand for containers, they appear late and move.
 */
import { lookup } from "node:dns";
import { isIP } from "node:net";
import type { ReplicaAddress } from "../io/replica-dialer.ts";

export interface NamedAddress {
  /** An IPv4 or IPv6 address without brackets, or a name. */
  readonly host: string;
  readonly port: number;
}

/** @param onDone - The first address of the name, or null and the system's code. */
export type Lookup = (name: string, onDone: (host: string | null, code: string) => void) => void;

export const systemLookup: Lookup = (name, onDone) => {
  lookup(name, (error, host) => {
    if (error === null) onDone(host, "");
    else onDone(null, error.code ?? error.message);
  });
};

class Address implements ReplicaAddress {
  host: string;
  /** A lookup of the name is under way. */
  asking = false;

  constructor(
    readonly name: string,
    readonly port: number,
  ) {
    this.host = name;
  }
}

export class ReplicaAddresses {
  /** For the message bus. */
  readonly list: readonly ReplicaAddress[];
  private readonly addresses: readonly Address[];

  constructor(
    given: readonly NamedAddress[],
    private readonly lookup: Lookup = systemLookup,
  ) {
    this.addresses = given.map(({ host, port }) => new Address(host, port));
    this.list = this.addresses;
  }

  /**
   * @param onDone - Told an address to listen on, or null and why there is none. Called from inside
   *   when there is no name to look up.
   */
  resolve(replica: number, onDone: (host: string | null, code: string) => void): void {
    const address = this.addresses[replica]!;
    if (isIP(address.name) !== 0) onDone(address.name, "");
    else this.lookup(address.name, onDone);
  }

  /** The replica could not be reached where its address says: it may have moved. */
  refresh(replica: number): void {
    const address = this.addresses[replica]!;
    if (address.asking || isIP(address.name) !== 0) return;
    address.asking = true;
    this.lookup(address.name, (host) => {
      address.asking = false;
      if (host !== null) address.host = host;
    });
  }
}
