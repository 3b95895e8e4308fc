/** When names are looked up, and that those who dial see what came of it. */
import { expect, test } from "vitest";
import { type Lookup, ReplicaAddresses } from "./replica-addresses.ts";

/** Names that are answered when the test says so. */
class FakeNames {
  readonly asked: string[] = [];
  private readonly waiting: ((host: string | null, code: string) => void)[] = [];

  readonly lookup: Lookup = (name, onDone) => {
    this.asked.push(name);
    this.waiting.push(onDone);
  };

  answer(host: string | null): void {
    this.waiting.shift()!(host, host === null ? "ENOTFOUND" : "");
  }
}

const given = [
  { host: "127.0.0.1", port: 3001 },
  { host: "ledger-1", port: 3002 },
  { host: "::1", port: 3003 },
];

test("numbers are never looked up", () => {
  const names = new FakeNames();
  const addresses = new ReplicaAddresses(given, names.lookup);
  let own = "";
  addresses.resolve(2, (host) => {
    own = host!;
  });
  expect(own).toBe("::1");
  addresses.refresh(0);
  addresses.refresh(2);
  expect(names.asked).toEqual([]);
});

test("a name becomes a number when it is known, and another one when it moves", () => {
  const names = new FakeNames();
  const addresses = new ReplicaAddresses(given, names.lookup);
  const dialled = addresses.list[1]!;
  expect(dialled).toMatchObject({ host: "ledger-1", port: 3002 });
  addresses.refresh(1);
  addresses.refresh(1); // One lookup at a time.
  expect(names.asked).toEqual(["ledger-1"]);
  names.answer(null);
  expect(dialled.host).toBe("ledger-1");
  addresses.refresh(1);
  names.answer("10.0.0.7");
  expect(dialled.host).toBe("10.0.0.7");
  // Connecting there fails later on: nobody knows it now, so the last number stays.
  addresses.refresh(1);
  names.answer(null);
  expect(dialled.host).toBe("10.0.0.7");
  addresses.refresh(1);
  names.answer("10.0.0.8");
  expect(dialled.host).toBe("10.0.0.8");
  expect(names.asked).toHaveLength(4);
});

test("the own name is looked up, and why it is not known is told", () => {
  const names = new FakeNames();
  const addresses = new ReplicaAddresses(given, names.lookup);
  const heard: (readonly [string | null, string])[] = [];
  for (const answer of ["10.0.0.7", null]) {
    addresses.resolve(1, (host, code) => heard.push([host, code]));
    names.answer(answer);
  }
  expect(heard).toEqual([
    ["10.0.0.7", ""],
    [null, "ENOTFOUND"],
  ]);
});
