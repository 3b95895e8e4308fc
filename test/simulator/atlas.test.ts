import { expect, test } from "vitest";
import { quorumsFor } from "../../src/consensus/quorums.ts";
import { replicasMax } from "../../src/core/limits.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { tinyFormat } from "../replica/harness.ts";
import { Atlas, Zone } from "./atlas.ts";

const layout = new DataFileLayout(tinyFormat);

function atlasOf(replicas: number): Atlas {
  return new Atlas(layout, replicas, replicas + 1, quorumsFor(replicas).replication, 64);
}

test("a place is damaged on fewer replicas than it takes to commit", () => {
  for (let replicas = 1; replicas <= replicasMax; replicas += 1) {
    const atlas = atlasOf(replicas);
    let damaged = 0;
    for (let replica = 0; replica < replicas; replica += 1) {
      if (!atlas.mayDamage(replica, Zone.grid, 5)) continue;
      atlas.add(replica, Zone.grid, 5);
      damaged += 1;
    }
    expect(damaged).toBe(quorumsFor(replicas).replication - 1);
    // Nobody depends on a standby.
    expect(atlas.mayDamage(replicas, Zone.grid, 5)).toBe(true);
  }
});

test("a slot's prepare and header are not both damaged on one replica", () => {
  const atlas = atlasOf(5);
  atlas.add(0, Zone.prepares, 17);
  expect(atlas.mayDamage(0, Zone.headers, 1)).toBe(false);
  expect(atlas.mayDamage(0, Zone.headers, 0)).toBe(true);
  atlas.add(0, Zone.headers, 0);
  expect(atlas.mayDamage(0, Zone.prepares, 3)).toBe(false);
  // Together they count as one replica's damage of the slot.
  expect(atlas.mayDamage(1, Zone.prepares, 3)).toBe(true);
  atlas.add(1, Zone.prepares, 3);
  expect(atlas.mayDamage(2, Zone.prepares, 3)).toBe(false);
});

test("damage ends when the place is written from its beginning", () => {
  const atlas = atlasOf(3);
  atlas.add(0, Zone.prepares, 4);
  expect(atlas.mayDamage(1, Zone.prepares, 4)).toBe(false);
  atlas.rewritten(0, layout.prepareAt(4) + 4096);
  expect(atlas.mayDamage(1, Zone.prepares, 4)).toBe(false);
  atlas.rewritten(1, layout.prepareAt(4));
  expect(atlas.mayDamage(1, Zone.prepares, 4)).toBe(false);
  atlas.rewritten(0, layout.prepareAt(4));
  expect(atlas.mayDamage(1, Zone.prepares, 4)).toBe(true);
  expect(atlas.damaged(0)).toBe(0);
});

test("every place is where the layout has it", () => {
  const atlas = atlasOf(3);
  for (const zone of [Zone.headers, Zone.prepares, Zone.replies, Zone.grid]) {
    for (let index = 0; index < atlas.places(zone); index += 1) {
      const at = atlas.startOf(zone, index);
      const area = atlas.areaAt(at);
      expect([area.zone, area.index]).toEqual([zone, index]);
    }
  }
  expect(atlas.areaAt(0).zone).toBe(Zone.superblock);
});

test("a lost disk counts as damage everywhere until it was found", () => {
  const atlas = atlasOf(3);
  atlas.add(1, Zone.grid, 3);
  expect(atlas.mayLose(0)).toBe(false);
  expect(atlas.mayLose(1)).toBe(true);
  atlas.lose(1);
  expect(atlas.damaged(1)).toBe(0);
  expect(atlas.mayDamage(0, Zone.grid, 9)).toBe(false);
  expect(atlas.mayLose(0)).toBe(false);
  atlas.found(1);
  expect(atlas.mayDamage(0, Zone.grid, 9)).toBe(true);
  expect(atlasOf(1).mayLose(0)).toBe(false);
});
