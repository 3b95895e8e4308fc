/** Conformance of a backend's loop: timers, turns, waking up, stopping, counting. */
import * as http from "node:http";
import * as net from "node:net";
import { expect, test } from "vitest";
import { Completion, Errno } from "../../src/io/io.ts";
import { Drive, type MakeIo, withDrive } from "./drive.ts";

const KiB = 1024;
const host = "127.0.0.1";
const hourMs = 3_600_000;

export function loopConformance(make: MakeIo): void {
  test("timeouts end in the order of their delays", () =>
    withDrive(make, async (drive) => {
      const order: number[] = [];
      const delays = [60, 0, 30, 90, 10];
      const timeouts = delays.map((delay) =>
        drive.timeout(delay).then((result) => {
          expect(result).toBe(0);
          order.push(delay);
        }),
      );
      await Promise.all(timeouts);
      expect(order).toEqual([0, 10, 30, 60, 90]);
    }));

  test("5,000 timeouts at once, with a delay and without", () =>
    withDrive(make, async (drive) => {
      for (const delay of [0, 20]) {
        const timeouts: Promise<number>[] = [];
        for (let at = 0; at < 5000; at += 1) timeouts.push(drive.timeout(delay));
        expect(drive.io.stats.inFlight).toBe(5000);
        expect((await Promise.all(timeouts)).every((result) => result === 0)).toBe(true);
      }
    }));

  test("a completion is started again from its own callback", () =>
    withDrive(make, async (drive) => {
      const buffer = drive.io.allocate(4 * KiB);
      const file = drive.openFile(4 * KiB, false);
      const count = 2000;
      let timeouts = 0;
      let reads = 0;
      await new Promise<void>((resolve, reject) => {
        const finish = (): void => {
          if (timeouts === count && reads === count) resolve();
        };
        const timer = new Completion((done) => {
          if (done.result !== 0) reject(new Error(`timeout: ${done.result}`));
          timeouts += 1;
          if (timeouts < count) drive.io.timeout(timer, 0);
          else finish();
        });
        const reader = new Completion((done) => {
          if (done.result !== 4 * KiB) reject(new Error(`read: ${done.result}`));
          reads += 1;
          if (reads < count) drive.io.read(reader, file, buffer, 0, 4 * KiB, 0);
          else finish();
        });
        drive.io.timeout(timer, 0);
        drive.io.read(reader, file, buffer, 0, 4 * KiB, 0);
      });
    }));

  test("a callback that starts many operations is not called back inside", () =>
    withDrive(make, async (drive) => {
      let inside = false;
      let ended = 0;
      await new Promise<void>((resolve, reject) => {
        const inner = (): void => {
          if (inside) reject(new Error("called back from inside a callback"));
          ended += 1;
          if (ended === 3000) resolve();
        };
        const outer = new Completion(() => {
          inside = true;
          for (let at = 0; at < 3000; at += 1) drive.io.timeout(new Completion(inner), 0);
          inside = false;
        });
        drive.io.timeout(outer, 0);
      });
    }));

  test("what was started before the start ends after it", async () => {
    const drive = new Drive(make);
    const timeout = drive.timeout(0);
    drive.start();
    expect(await timeout).toBe(0);
    await drive.end();
  });

  test("each turn ends with onTurn", () =>
    withDrive(make, async (drive) => {
      for (let round = 0; round < 10; round += 1) {
        const before = drive.turns;
        await drive.timeout(round % 2);
        await drive.timeout(0);
        expect(drive.turns).toBeGreaterThan(before);
      }
    }));

  test("onTurn may start operations", async () => {
    const drive = new Drive(make);
    const results: number[] = [];
    await new Promise<void>((resolve) => {
      const completion = new Completion((done) => {
        results.push(done.result);
        if (results.length === 100) resolve();
      });
      drive.io.start(() => {
        if (!completion.busy && results.length < 100) drive.io.timeout(completion, 0);
      });
      drive.timeout(0);
    });
    expect(results.every((result) => result === 0)).toBe(true);
    await drive.end();
  });

  test("Node's timers, signals, HTTP and child tasks wake an idle backend", () =>
    withDrive(make, async (drive) => {
      // Something that never completes: the backend waits for it all the time.
      const { listener } = drive.io.listen(host, 0);
      const accepted = drive.accept(listener);

      await new Promise<void>((resolve) => setTimeout(resolve, 20));
      await new Promise<void>((resolve) => setImmediate(resolve));
      await new Promise<void>((resolve) => {
        let ticks = 0;
        const interval = setInterval(() => {
          ticks += 1;
          if (ticks < 5) return;
          clearInterval(interval);
          resolve();
        }, 5);
      });

      const signaled = new Promise<void>((resolve) => process.once("SIGUSR2", () => resolve()));
      process.kill(process.pid, "SIGUSR2");
      await signaled;

      const server = http.createServer((request, response) => response.end(`got ${request.url}`));
      await new Promise<void>((resolve) => server.listen(0, host, resolve));
      const { port } = server.address() as net.AddressInfo;
      for (let at = 0; at < 3; at += 1) {
        const text = await new Promise<string>((resolve, reject) => {
          const request = http.get({ host, port, path: `/${at}` }, (response) => {
            let body = "";
            response.setEncoding("utf8");
            response.on("data", (chunk: string) => {
              body += chunk;
            });
            response.on("end", () => resolve(body));
          });
          request.on("error", reject);
        });
        expect(text).toBe(`got /${at}`);
      }
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });

      const { readFile } = await import("node:fs/promises");
      expect((await readFile(new URL(import.meta.url))).length).toBeGreaterThan(0);
      expect(await drive.close(listener)).toBe(0);
      expect(await accepted).toBe(Errno.canceled);
    }));

  test("operations begun outside the backend's turn end without its help", () =>
    withDrive(make, async (drive) => {
      for (let round = 0; round < 5; round += 1) {
        await new Promise<void>((resolve) => setTimeout(resolve, 2));
        expect(await drive.timeout(0)).toBe(0);
        await new Promise<void>((resolve) => setImmediate(resolve));
        expect(await drive.timeout(1)).toBe(0);
      }
    }));

  test("a busy backend lets Node's timers and sockets through", () =>
    withDrive(make, async (drive) => {
      let busy = true;
      let rounds = 0;
      const ended = new Promise<void>((resolve) => {
        const spin = new Completion(() => {
          rounds += 1;
          if (busy) drive.io.timeout(spin, 0);
          else resolve();
        });
        drive.io.timeout(spin, 0);
      });
      await new Promise<void>((resolve) => setTimeout(resolve, 10));
      const { listener, port } = drive.io.listen(host, 0);
      const accepted = drive.accept(listener);
      const peer = net.connect({ host, port });
      await new Promise<void>((resolve) => peer.once("connect", resolve));
      expect(await accepted).toBeGreaterThanOrEqual(0);
      busy = false;
      await ended;
      expect(rounds).toBeGreaterThan(0);
      peer.destroy();
    }));

  test("stop with nothing in flight calls back", async () => {
    const drive = new Drive(make);
    drive.start();
    await drive.end();
    const unstarted = new Drive(make);
    await unstarted.end();
  });

  test("stop reaps all that is in flight, then calls back", async () => {
    const drive = new Drive(make);
    drive.start();
    const { listener, port } = drive.io.listen(host, 0);
    const { client, server } = await drive.pair(listener, port);
    const buffer = drive.io.allocate(1024 * KiB);
    const other = drive.io.allocate(1024 * KiB);
    const file = drive.openFile(1024 * KiB, process.platform === "linux");
    const canceled = [
      drive.timeout(hourMs),
      drive.timeout(hourMs),
      drive.accept(listener),
      drive.receive(client, buffer, 0, 10),
      drive.receive(server, buffer, 16, 10, true),
    ];
    const files: Promise<number>[] = [];
    for (let at = 0; at < 64; at += 1) {
      files.push(drive.write(file, other, at * 4 * KiB, 4 * KiB, at * 4 * KiB, at % 2 === 0));
      files.push(drive.read(file, other, 512 * KiB + at * 4 * KiB, 4 * KiB, at * 4 * KiB));
      if (at % 8 === 0) files.push(drive.sync(file));
    }
    let reaped = 0;
    for (const ended of [...canceled, ...files]) {
      ended.then(() => {
        reaped += 1;
      });
    }
    const total = canceled.length + files.length;
    await drive.stop();
    expect(reaped).toBe(total);
    expect(drive.io.stats.inFlight).toBe(0);
    for (const ended of canceled) expect(await ended).toBe(Errno.canceled);
    for (const ended of files) expect([Errno.canceled, 0, 4 * KiB]).toContain(await ended);
    await drive.end();
  });

  test("stop closes sockets and listeners", async () => {
    const drive = new Drive(make);
    drive.start();
    const { listener, port } = drive.io.listen(host, 0);
    const accepted = drive.accept(listener);
    const peer = net.connect({ host, port });
    peer.on("error", () => {});
    const closed = new Promise<void>((resolve) => peer.once("close", () => resolve()));
    peer.resume();
    expect(await accepted).toBeGreaterThanOrEqual(0);
    await drive.stop();
    await closed;
    const late = net.connect({ host, port });
    const refusal = await new Promise<NodeJS.ErrnoException>((resolve) =>
      late.once("error", resolve),
    );
    expect(refusal.code).toBe("ECONNREFUSED");
    await drive.end();
  });

  test("what a callback starts while the backend stops ends canceled", async () => {
    const drive = new Drive(make);
    drive.start();
    const results: number[] = [];
    const completion = new Completion((done) => {
      results.push(done.result);
      if (results.length < 5) drive.io.timeout(completion, hourMs);
    });
    drive.io.timeout(completion, hourMs);
    await drive.stop();
    expect(results).toEqual([-125, -125, -125, -125, -125]);
    await drive.end();
  });

  test("stop from inside a callback", async () => {
    const drive = new Drive(make);
    drive.start();
    const { listener } = drive.io.listen(host, 0);
    const accepted = drive.accept(listener);
    const slept = drive.timeout(hourMs);
    await new Promise<void>((resolve) => {
      const stopper = new Completion(() => {
        drive.stop().then(resolve);
      });
      drive.io.timeout(stopper, 1);
    });
    expect(await accepted).toBe(Errno.canceled);
    expect(await slept).toBe(Errno.canceled);
    await drive.end();
  });

  test("counts what it did", () =>
    withDrive(make, async (drive) => {
      const { stats } = drive.io;
      const file = drive.openFile(64 * KiB, false);
      const buffer = drive.io.allocate(64 * KiB);
      const { listener, port } = drive.io.listen(host, 0);
      const { client, server } = await drive.pair(listener, port);
      await drive.write(file, buffer, 0, 8 * KiB, 0, false);
      await drive.write(file, buffer, 0, 4 * KiB, 8 * KiB, true);
      await drive.write(file, buffer, 0, 4 * KiB, 8 * KiB, true);
      await drive.read(file, buffer, 0, 12 * KiB, 0);
      await drive.sync(file);
      await drive.send(client, buffer, 0, 1000);
      await drive.receive(server, buffer, 0, 600);
      await drive.receive(server, buffer, 0, 600);
      // What fails is not counted.
      await drive.read(file, buffer, 0, 4 * KiB, 1024 * KiB);
      await drive.write(-1, buffer, 0, 4 * KiB, 0, true);
      await drive.sync(-1);
      await drive.connect(port, "localhost");
      await drive.send(1_000_000, buffer, 0, 10);
      expect(stats).toMatchObject({
        backend: expect.stringContaining(drive.io.name),
        reads: 1,
        readBytes: 12 * KiB,
        writes: 3,
        writeBytes: 16 * KiB,
        syncs: 1,
        receives: 2,
        receiveBytes: 1000,
        sends: 1,
        sendBytes: 1000,
        accepts: 1,
        connects: 1,
        inFlight: 0,
      });
      expect(stats.inFlightMax).toBeGreaterThanOrEqual(2);
      expect(stats.systemCalls).toBeGreaterThan(0);
      expect(stats.writeLatencyLog2Us.reduce((sum, count) => sum + count, 0)).toBe(3);
    }));
}
