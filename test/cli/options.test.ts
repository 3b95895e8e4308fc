/** The option parser: what it takes, what it refuses, and with which sentence. */
import { describe, expect, test } from "vitest";
import { CommandError } from "../../src/cli/command-error.ts";
import { editDistance, nearest } from "../../src/cli/nearest.ts";
import {
  addresses,
  choice,
  flag,
  formatSize,
  integer,
  onOff,
  parseOptions,
  size,
  text,
  u128,
} from "../../src/cli/options.ts";
import { parseAddresses, parseSize } from "../../src/cli/values.ts";
import { formatAddress } from "../../src/io/socket-address.ts";

const table = {
  cluster: u128({ help: "Cluster id", required: true }),
  count: integer({ help: "Count", min: 1, max: 10, initial: 3 }),
  cache: size({ help: "Cache", min: 1024, max: 2 ** 40 }),
  mode: choice(["fast", "safe", "auto"], { help: "Mode", initial: "auto" }),
  grouping: onOff({ help: "Grouping", initial: true }),
  development: flag("Small"),
  addresses: addresses({ help: "Addresses" }),
  name: text({ help: "Name", initial: "x" }),
};

const syntax = {
  name: "test",
  options: table,
  positionals: ["FILE"],
  examples: ["pacioli test --cluster=1 x"],
};
const parse = (...args: string[]) => parseOptions(syntax, args);

function sentence(...args: string[]): string {
  try {
    parse(...args);
  } catch (error) {
    expect(error).toBeInstanceOf(CommandError);
    return (error as CommandError).message;
  }
  throw new Error("the arguments were accepted");
}

describe("what is accepted", () => {
  test("values after '=' and as the next argument, anywhere around the positional", () => {
    const { values, positionals } = parse("--cluster=7", "file", "--count", "10", "--mode=safe");
    expect(values.cluster).toBe(7n);
    expect(values.count).toBe(10);
    expect(values.mode).toBe("safe");
    expect(positionals).toEqual(["file"]);
  });

  test("defaults, and undefined for an option without one", () => {
    const { values, given } = parse("--cluster=0", "file");
    expect(values.count).toBe(3);
    expect(values.cache).toBe(undefined);
    expect(values.development).toBe(false);
    expect(values.grouping).toBe(true);
    expect([...given]).toEqual(["cluster"]);
  });

  test("the largest cluster id, a flag, a size, off", () => {
    const { values } = parse(
      "--cluster=340282366920938463463374607431768211455",
      "--development",
      "--cache=2GiB",
      "--grouping=off",
      "file",
    );
    expect(values.cluster).toBe((1n << 128n) - 1n);
    expect(values.development).toBe(true);
    expect(values.cache).toBe(2 ** 31);
    expect(values.grouping).toBe(false);
  });

  test("a value that holds '=', and names after '--'", () => {
    const { values, positionals } = parse("--cluster=0", "--name=a=b", "--", "--odd-file");
    expect(values.name).toBe("a=b");
    expect(positionals).toEqual(["--odd-file"]);
  });

  test("help wins over everything that is wrong", () => {
    expect(parse("--nonsense", "--help").help).toBe(true);
    expect(parse("-h").help).toBe(true);
    expect(parse("--cluster=0", "--", "-h").help).toBe(false);
  });

  test("an optional positional may be left out", () => {
    const optional = { ...syntax, options: {}, positionals: ["[TOPIC]", "FILE"] };
    expect(parseOptions(optional, ["a"]).positionals).toEqual(["a"]);
    expect(parseOptions(optional, ["a", "b"]).positionals).toEqual(["a", "b"]);
  });
});

describe("what is refused, and the sentence", () => {
  test.each([
    [["--clustr=1", "f"], "test has no option '--clustr'; did you mean --cluster?"],
    [["--dev", "f"], "test has no option '--dev'; did you mean --development?"],
    [["—cluster=1", "f"], "'—cluster=1' begins with a dash that is no hyphen; write --cluster=1."],
    [["--zzz=1", "f"], "test has no option '--zzz'; run 'pacioli test --help' for its options."],
    [["-cluster=1", "f"], "test has no option '-cluster'; did you mean --cluster?"],
    [
      ["--toString=1", "f"],
      "test has no option '--toString'; run 'pacioli test --help' for its options.",
    ],
    [["--cluster"], "--cluster needs a value: --cluster=N."],
    [["--cluster=", "f"], "--cluster needs a value: --cluster=N."],
    [["--cluster", "--development", "f"], "--cluster needs a value: --cluster=N."],
    [["--cluster=1", "--cluster=2", "f"], "--cluster is given twice; give it once."],
    [
      ["--development=yes", "--cluster=1", "f"],
      "--development takes no value; write --development.",
    ],
    [["f"], "test needs --cluster=N; for example 'pacioli test --cluster=1 x'."],
    [["--cluster=1"], "test needs FILE; for example 'pacioli test --cluster=1 x'."],
    [[], "test needs --cluster=N and FILE; for example 'pacioli test --cluster=1 x'."],
    [["--cluster=1", ""], "an argument of test is empty; give FILE."],
    [["--cluster=1", "f", "g"], "test takes only FILE, but 'g' is given as well."],
    [
      ["--cluster=-1", "f"],
      "--cluster must be a whole number from 0 to 2^128 - 1 in decimal, not '-1'.",
    ],
    [
      ["--cluster=0x10", "f"],
      "--cluster must be a whole number from 0 to 2^128 - 1 in decimal, not '0x10'.",
    ],
    [
      ["--cluster=340282366920938463463374607431768211456", "f"],
      "--cluster must be a whole number from 0 to 2^128 - 1 in decimal, not '340282366920938463463374607431768211456'.",
    ],
    [["--cluster=0", "--count=11", "f"], "--count must be a whole number from 1 to 10, not '11'."],
    [["--cluster=0", "--count=0", "f"], "--count must be a whole number from 1 to 10, not '0'."],
    [
      ["--cluster=0", "--count=1.5", "f"],
      "--count must be a whole number from 1 to 10, not '1.5'.",
    ],
    [
      ["--cluster=0", "--count=1e1", "f"],
      "--count must be a whole number from 1 to 10, not '1e1'.",
    ],
    [["--cluster=0", "--mode=slow", "f"], "--mode must be fast, safe or auto, not 'slow'."],
    [["--cluster=0", "--grouping=yes", "f"], "--grouping must be on or off, not 'yes'."],
    [
      ["--cluster=0", "--cache=1GB", "f"],
      "--cache must be a size such as 256MiB or 1GiB (units: KiB, MiB, GiB, TiB), not '1GB'.",
    ],
    [["--cluster=0", "--cache=512", "f"], "--cache must be between 1KiB and 1TiB, not '512'."],
    [
      ["--cluster=0", "--addresses=10.0.0.300:3001", "f"],
      "--addresses: '10.0.0.300:3001' is not an address; write a port (3001), or an IP address or the name of a host and a port (127.0.0.1:3001, [::1]:3001 or ledger-0:3001).",
    ],
    [
      ["--cluster=0", "--addresses=127.0.0.1:70000", "f"],
      "--addresses: the port in '127.0.0.1:70000' must be a whole number from 0 to 65535.",
    ],
    [
      ["--cluster=0", "--addresses=::1", "f"],
      "--addresses: write the IPv6 address '::1' in brackets: [::1]:3001.",
    ],
    [
      ["--cluster=0", "--addresses=3001,", "f"],
      "--addresses: an address is missing beside a comma of '3001,'.",
    ],
    [["--cluster=0", "--addresses=[::g]:1", "f"], "--addresses: '::g' is not an IPv6 address."],
    [
      ["--cluster=0", "--addresses=3001,127.0.0.1:3001", "f"],
      "--addresses: '127.0.0.1:3001' stands in the list twice; every replica has an address of its own.",
    ],
  ])("%j", (args, expected) => {
    expect(sentence(...args)).toBe(expected);
  });

  test("a command without arguments names the stray one", () => {
    const none = { ...syntax, name: "version", options: {}, positionals: [] };
    expect(() => parseOptions(none, ["x"])).toThrow(
      "version takes no arguments, but 'x' is given; options start with '--'.",
    );
  });
});

describe("values", () => {
  test.each([
    ["0", 0],
    ["4096", 4096],
    ["1KiB", 1024],
    ["3MiB", 3 * 2 ** 20],
    ["1TiB", 2 ** 40],
    ["10B", 10],
    ["", undefined],
    ["1.5GiB", undefined],
    ["-1", undefined],
    ["1kib", undefined],
    ["999999999999999TiB", undefined],
  ])("size %s", (written, bytes) => {
    expect(parseSize(written)).toBe(bytes);
  });

  test("sizes print in the largest unit that divides them", () => {
    expect([0, 1000, 1024, 1536, 2 ** 30].map(formatSize)).toEqual([
      "0 bytes",
      "1000 bytes",
      "1KiB",
      "1536 bytes",
      "1GiB",
    ]);
  });

  test.each([
    ["3001", [{ host: "127.0.0.1", port: 3001 }]],
    ["0", [{ host: "127.0.0.1", port: 0 }]],
    ["10.0.0.1", [{ host: "10.0.0.1", port: 3001 }]],
    ["[::1]:4000", [{ host: "::1", port: 4000 }]],
    ["[fe80::1]", [{ host: "fe80::1", port: 3001 }]],
    ["ledger-0.books_1.svc:4000", [{ host: "ledger-0.books_1.svc", port: 4000 }]],
    ["localhost", [{ host: "localhost", port: 3001 }]],
    [
      "3001, 3002",
      [
        { host: "127.0.0.1", port: 3001 },
        { host: "127.0.0.1", port: 3002 },
      ],
    ],
  ])("addresses %s", (written, expected) => {
    expect(parseAddresses(written)).toEqual(expected);
  });

  test("addresses print as they are read", () => {
    for (const written of ["127.0.0.1:3001", "[::1]:65535"]) {
      const parsed = parseAddresses(written);
      if (typeof parsed === "string") throw new Error(parsed);
      expect(formatAddress(parsed[0]!.host, parsed[0]!.port)).toBe(written);
    }
  });

  test.each(["-x", "x-:1", "a..b", "a b", "a.1", "1.2.3", "a/b", `${"a".repeat(64)}:1`, "é"])(
    "'%s' is no name of a host",
    (written) => {
      expect(parseAddresses(written)).toMatch(/is not an address/);
    },
  );

  test("too many addresses", () => {
    const ports = Array.from({ length: 13 }, (_, index) => 3001 + index);
    expect(parseAddresses(ports.join())).toBe("at most 12 addresses can be given, not 13.");
  });
});

describe("the nearest word", () => {
  test.each([
    ["formt", "format"],
    ["fromat", "format"],
    ["star", "start"],
    ["bench", "benchmark"],
    ["inspct", "inspect"],
    ["xyz", undefined],
    ["", undefined],
  ])("%s", (typed, expected) => {
    expect(nearest(typed, ["format", "start", "inspect", "benchmark"])).toBe(expected);
  });

  test.each([
    ["", "abc", 3],
    ["abc", "abc", 0],
    ["abc", "acb", 1],
    ["kitten", "sitting", 3],
  ])("distance of %j and %j", (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
    expect(editDistance(b, a)).toBe(distance);
  });
});
