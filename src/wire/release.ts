/**
 * Release numbers as the wire carries them: major · 65536 + minor · 256 + patch, compared as that
 * number. A reply repeats the release of its request; pong and eviction state the server's own.
 */

export function releaseNumber(major: number, minor: number, patch: number): number {
  return major * 0x1_0000 + minor * 0x100 + patch;
}

/** The protocol release that this server speaks, and states in pong and eviction. */
export const ownRelease = releaseNumber(0, 17, 9);

/** Clients below are refused with `clientReleaseTooLow`. */
export const clientReleaseMin = releaseNumber(0, 16, 4);

/** Clients above are refused with `clientReleaseTooHigh`: they may use operations unknown here. */
export const clientReleaseMax = ownRelease;

/** For people: "0.17.9". */
export function releaseText(release: number): string {
  return `${release >>> 16}.${(release >>> 8) & 0xff}.${release & 0xff}`;
}
