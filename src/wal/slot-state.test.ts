/**
 * The decision table, row by row, stated here a second time and by itself: columns are the
 * redundant header, the prepare, how they compare, and the decisions for several replicas and for
 * a cluster of one.
 */
import { expect, test } from "vitest";
import { Agreement, Decision, decideSlot, decisionTable, SlotContent } from "./slot-state.ts";

const rows = `
  bad       bad       -             unknown       hole
  bad       reserved  -             doubtful      empty
  bad       expired   -             doubtful      old
  bad       live      -             useFixHeader  useFixHeader
  bad       beyond    -             cut           fatal
  reserved  bad       -             hole          hole
  reserved  reserved  -             empty         empty
  reserved  expired   -             old           old
  reserved  live      -             useFixHeader  useFixHeader
  reserved  beyond    -             cut           fatal
  expired   bad       -             hole          hole
  expired   reserved  -             empty         empty
  expired   expired   -             old           old
  expired   live      -             useFixHeader  useFixHeader
  expired   beyond    -             cut           fatal
  live      bad       -             lost          fatal
  live      reserved  -             lost          fatal
  live      expired   -             lost          fatal
  live      live      identical     use           use
  live      live      prepareNewer  useFixHeader  useFixHeader
  live      live      prepareOlder  lost          fatal
  live      beyond    -             lost          fatal
  beyond    bad       -             cut           fatal
  beyond    reserved  -             cut           fatal
  beyond    expired   -             cut           fatal
  beyond    live      -             useFixHeader  fatal
  beyond    beyond    -             cut           fatal
`;

const parsed = rows
  .trim()
  .split("\n")
  .map((row) => row.trim().split(/\s+/) as [string, string, string, string, string]);

const content = SlotContent as Record<string, SlotContent>;
const agreements = Agreement as Record<string, Agreement>;
const decisions = Decision as Record<string, Decision>;

test.each(parsed)("%s header, %s prepare (%s): %s, alone %s", (header, prepare, how, many, one) => {
  const agreement = how === "-" ? Agreement.none : agreements[how]!;
  expect(decideSlot(content[header]!, content[prepare]!, agreement, false)).toBe(decisions[many]);
  expect(decideSlot(content[header]!, content[prepare]!, agreement, true)).toBe(decisions[one]);
});

test("the table is complete", () => {
  expect(parsed.length).toBe(decisionTable.length);
  const kinds = Object.values(SlotContent);
  let combinations = 0;
  for (const header of kinds) {
    for (const prepare of kinds) {
      const bothLive = header === SlotContent.live && prepare === SlotContent.live;
      for (const agreement of Object.values(Agreement)) {
        if (bothLive !== (agreement !== Agreement.none)) continue;
        for (const single of [false, true]) decideSlot(header, prepare, agreement, single);
        combinations += 1;
      }
    }
  }
  // 24 pairs that are not compared, and three outcomes of the one that is.
  expect(combinations).toBe(24 + 3);
});

test("nothing that is known to have been durable is given up", () => {
  for (const [header, prepare, agreement, cluster, single] of decisionTable) {
    if (header !== SlotContent.live) continue;
    const kept: readonly Decision[] = [Decision.use, Decision.useFixHeader, Decision.lost];
    expect(kept).toContain(cluster);
    if (agreement === Agreement.identical || agreement === Agreement.prepareNewer) continue;
    expect(single, `${header} ${prepare}`).toBe(Decision.fatal);
  }
});
