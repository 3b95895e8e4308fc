/** Values as people write them on a command line: whole numbers, sizes and socket addresses. */
import { isIP } from "node:net";

export interface SocketAddress {
  /** An IPv4 or IPv6 address, without brackets, or the name of a host. */
  readonly host: string;
  readonly port: number;
}

export const defaultHost = "127.0.0.1";
export const defaultPort = 3001;

/** Replicas and standbys together; the wire's limit on a list of addresses. */
const addressesMax = 12;

/** Digits, with `_` or `,` nowhere: one way to write a number. */
export function parseDecimal(text: string): bigint | undefined {
  // 39 digits hold 2^128 − 1; a longer text is refused before it costs anything.
  return /^[0-9]{1,39}$/.test(text) ? BigInt(text) : undefined;
}

const sizeUnits: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Bytes; undefined when it is not a whole number with one of the units above. */
export function parseSize(text: string): number | undefined {
  const match = /^([0-9]{1,15})([A-Za-z]*)$/.exec(text);
  if (match === null) return undefined;
  const unit = sizeUnits[match[2]!];
  if (unit === undefined) return undefined;
  const bytes = Number(match[1]) * unit;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The addresses of a comma-separated list, or a sentence that says what is wrong with it. */
export function parseAddresses(text: string): readonly SocketAddress[] | string {
  const parts = text.split(",");
  if (parts.length > addressesMax) {
    return `at most ${addressesMax} addresses can be given, not ${parts.length}.`;
  }
  const result: SocketAddress[] = [];
  for (const part of parts) {
    if (part.trim() === "") return `an address is missing beside a comma of '${text}'.`;
    const address = parseAddress(part.trim());
    if (typeof address === "string") return address;
    if (result.some((other) => other.host === address.host && other.port === address.port)) {
      return `'${part.trim()}' stands in the list twice; every replica has an address of its own.`;
    }
    result.push(address);
  }
  return result;
}

function parseAddress(text: string): SocketAddress | string {
  if (/^[0-9]+$/.test(text)) return withPort(defaultHost, text, text);
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  if (bracketed !== null) {
    if (isIP(bracketed[1]!) !== 6) return `'${bracketed[1]}' is not an IPv6 address.`;
    return withPort(bracketed[1]!, bracketed[2], text);
  }
  if (isIP(text) === 6) return `write the IPv6 address '${text}' in brackets: [${text}]:3001.`;
  const colon = text.indexOf(":");
  const host = colon < 0 ? text : text.slice(0, colon);
  if (isIP(host) !== 4 && !isHostName(host)) {
    return (
      `'${text}' is not an address; write a port (3001), or an IP address or the name of a host and ` +
      "a port (127.0.0.1:3001, [::1]:3001 or ledger-0:3001)."
    );
  }
  return withPort(host, colon < 0 ? undefined : text.slice(colon + 1), text);
}

const hostLabel = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
const hostName = new RegExp(`^${hostLabel}(?:\\.${hostLabel})*$`);

/** Labels with dots between; the last one is no number, as it would be in a mistyped IP address. */
function isHostName(text: string): boolean {
  if (text.length > 253 || !hostName.test(text)) return false;
  return /[A-Za-z_]/.test(text.slice(text.lastIndexOf(".") + 1));
}

function withPort(host: string, port: string | undefined, text: string): SocketAddress | string {
  if (port === undefined) return { host, port: defaultPort };
  if (!/^[0-9]{1,5}$/.test(port) || Number(port) > 65_535) {
    return `the port in '${text}' must be a whole number from 0 to 65535.`;
  }
  return { host, port: Number(port) };
}

/** What a person is told about an index. */
export function memberText(replica: number, replicaCount: number): string {
  if (replica < replicaCount) return `replica ${replica} of ${replicaCount}`;
  return `standby ${replica} of a cluster of ${replicaCount}`;
}
