/** Mistakes about blocks of the grid. */
import { blockLayout } from "../../../src/storage/format.ts";
import type { Canary } from "./canary.ts";

export const anyAddress: Canary = {
  name: "any-address",
  what: "a block that is sound by itself is served for any reference",
  replicasMin: 2,
  install(parts) {
    const { seals } = parts.storage.grid;
    const verify = seals.verify.bind(seals);
    const own = new Uint32Array(4);
    seals.verify = (buffer, wordAt, address, checksums, checksumAt, type) => {
      const result = verify(buffer, wordAt, address, checksums, checksumAt, type);
      if (result === null) return null;
      own.set(buffer.words.subarray(wordAt, wordAt + 4));
      const foundAt = buffer.words[wordAt + blockLayout.word.address]!;
      const sound = verify(buffer, wordAt, foundAt, own, 0, type) === null;
      return sound ? null : result;
    };
  },
};

export const reuseBlocksEarly: Canary = {
  name: "reuse-blocks-early",
  what: "a block that a checkpoint does not need is used again before that checkpoint is durable",
  replicasMin: 1,
  install(parts) {
    const { freeSet } = parts.storage.grid;
    const freezeEnd = freeSet.freezeEnd.bind(freeSet);
    freeSet.freezeEnd = () => {
      freezeEnd();
      freeSet.freezeBegin();
    };
  },
};
