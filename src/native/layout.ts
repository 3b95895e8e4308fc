/**
 * What TypeScript and the addon write to each other through shared memory: the twin of
 * `native/layout.h`, which explains each field. The addon exports its numbers under these names and
 * the loader refuses an addon that differs in any of them.
 */

/**
 * Sizes, and offsets inside the struct that begins the name, are bytes. What ends in `Words` counts
 * words of 32 bits, what ends in `Max` is a limit (`native/sorted_runs/`).
 */
export const nativeLayout = {
  version: 7,
  pageSize: 4096,

  descriptorSize: 64,
  descriptorOpcode: 0,
  descriptorHandle: 4,
  descriptorBufferId: 8,
  descriptorBufferAt: 12,
  descriptorLength: 16,
  descriptorOffsetLow: 20,
  descriptorOffsetHigh: 24,
  descriptorFlags: 28,
  descriptorExtra: 32,

  completionSize: 16,
  completionSlot: 0,
  completionResult: 4,
  completionDurationUs: 8,

  controlSize: 32,
  controlQueueHead: 0,
  controlQueueTail: 4,
  controlWake: 8,
  controlSystemCalls: 12,
  controlInKernel: 16,
  controlPressure: 20,

  opcodeNop: 1,
  opcodeRead: 2,
  opcodeWrite: 3,
  opcodeSync: 4,
  opcodeAccept: 5,
  opcodeConnect: 6,
  opcodeReceive: 7,
  opcodeSend: 8,
  opcodeShutdown: 9,
  opcodeClose: 10,
  opcodeTimeout: 11,
  opcodeCancel: 12,
  opcodePoll: 13,

  flagDurable: 1,
  flagFixedFile: 2,
  flagWhole: 4,

  entryWordsShort: 4,
  entryWordsLong: 6,
  mergeInputsMax: 8,
  filterWords: 2304,
  filterIdsMax: 2720,
  probeRunsMax: 64,
  probeScratchWords: 16,
  candidateWords: 3,
} as const;

/** The first name whose value differs in `other`, or null when all agree. */
export function layoutDifference(other: Readonly<Record<string, number>>): string | null {
  for (const [name, value] of Object.entries(nativeLayout)) {
    if (other[name] !== value) return name;
  }
  return null;
}
