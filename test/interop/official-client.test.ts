/** The official client's own test suite, unmodified, against this server on both backends. */
import { afterAll, expect, test } from "vitest";
import { cleanUp, startFresh } from "../process/server.ts";
import { runSuite, suiteTests } from "./official-suite.ts";

afterAll(cleanUp);

test.each(["uring", "portable"] as const)(
  "the official client's tests pass against the %s backend",
  async (backend) => {
    const { server } = await startFresh({ backend, development: true });
    const { code, output, passed } = await runSuite(String(server.port));
    expect(code, `${output}\nserver:\n${server.log}`).toBe(0);
    expect(suiteTests.length).toBeGreaterThan(20);
    expect(passed, output).toBe(suiteTests.length);
    await server.stop();
  },
);
