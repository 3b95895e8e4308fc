/** Who stands in line for a repair, while addresses are handed out. */
import { expect, test } from "vitest";
import { BlockRequest, damagedBlock } from "../../src/storage/block-reader.ts";
import { BlockRepairs, RepairWaiter, repairsMax } from "../../src/storage/block-repairs.ts";
import { BlockType, blockWords } from "../../src/storage/format.ts";
import { IndexId } from "../../src/storage/runs/options.ts";
import { RunLayout } from "./run-layout.ts";

test("handing out an address calls nobody back, and who stands in line is served later", () => {
  const layout = new RunLayout(1, 1);
  const { grid, file } = layout;
  const index = layout.index(IndexId.code);
  const entries = Array.from({ length: 40 }, (_, row) => ({ row, key: [1, 0] }));
  const end = { transfers: 40, failedIds: 0 };
  layout.addRun(index, 0, { transfers: 0, failedIds: 0 }, end, entries);
  layout.write();
  const { refs } = index.level(0)[0]!;
  const repairs = new BlockRepairs(grid, { want: () => {}, forget: () => {} });
  grid.repairs = repairs;
  grid.onProgress = () => repairs.writeAllowed();
  const requests = entries.map((_, block) => {
    const request = new BlockRequest();
    refs.copy(block, request.ref, 0);
    request.type = BlockType.run;
    return request;
  });
  const buffer = file.allocate(blockWords * 4);
  const offer = (block: number): boolean => {
    const address = refs.address(block);
    buffer.bytes.set(file.content(grid.fileOffset(address), blockWords * 4));
    return repairs.offer(address, buffer, 0);
  };
  const damage = (block: number) => damagedBlock(requests[block]!, "rot");

  // The first block is let go: its address is the next that is handed out.
  grid.freeSet.release(refs.address(0));
  for (let freeze = 0; freeze < 2; freeze += 1) {
    grid.freeSet.freezeBegin();
    grid.freeSet.freezeEnd();
  }
  for (let block = 0; block < repairsMax; block += 1) {
    expect(repairs.schedule(requests[block]!, damage(block))).toBe(true);
  }
  // Two readers wait for block 33, another one between them for block 34.
  const served: number[] = [];
  for (const [waiter, block] of [33, 34, 33].entries()) {
    const target = file.allocate(blockWords * 4);
    const wait = new RepairWaiter(() => served.push(waiter));
    repairs.request(wait, requests[block]!, damage(block), target, 0);
  }
  expect(offer(1)).toBe(true);
  while (file.tick());
  expect(offer(33)).toBe(true);
  expect(served).toEqual([0]);
  // Its write is in flight: it could be handed on at once, were there not one before it in line.
  const held = file.hold(grid.fileOffset(refs.address(33)));
  expect(grid.acquire()).toBe(refs.address(0));
  expect(served).toEqual([0]);
  repairs.writeAllowed();
  expect(served).toEqual([0, 2]);
  expect(held.release()).toBe(true);
  expect(offer(34)).toBe(true);
  expect(served).toEqual([0, 2, 1]);
});
