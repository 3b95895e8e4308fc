/** Addresses as people write them. */

/** `127.0.0.1:3001` or `[::1]:3001`: without brackets, nobody sees where an IPv6 address ends. */
export function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
