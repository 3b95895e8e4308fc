/** Conformance of a backend's sockets: connections, transfers, ends, cancellation. */
import * as net from "node:net";
import { networkInterfaces } from "node:os";
import { expect, test } from "vitest";
import { Completion, Errno, type SocketHandle } from "../../src/io/io.ts";
import { type Drive, fillPattern, type MakeIo, matches, pattern, withDrive } from "./drive.ts";

const KiB = 1024;
const badHandle = -9;
const host = "127.0.0.1";

/** Node's own end of a connection whose other end is the backend's. */
async function nodePeer(drive: Drive): Promise<{ peer: net.Socket; socket: SocketHandle }> {
  const { listener, port } = drive.io.listen(host, 0);
  const accepted = drive.accept(listener);
  const peer = net.connect({ host, port, allowHalfOpen: true });
  peer.on("error", () => {});
  const connected = new Promise<void>((resolve) => peer.once("connect", resolve));
  const socket = await accepted;
  expect(socket).toBeGreaterThanOrEqual(0);
  await connected;
  return { peer, socket };
}

/** All that the peer sends until it ends. */
function collect(peer: net.Socket): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  return new Promise((resolve) => {
    peer.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    peer.on("close", () => resolve(Buffer.concat(chunks)));
    peer.on("end", () => resolve(Buffer.concat(chunks)));
  });
}

export function socketConformance(make: MakeIo): void {
  test("accepts, connects, sends and receives", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      expect(port).toBeGreaterThan(0);
      const { client, server } = await drive.pair(listener, port);
      expect(new Set([client, server, listener]).size).toBe(3);
      const buffer = drive.io.allocate(64 * KiB);
      fillPattern(buffer.bytes.subarray(0, 100), 1);
      expect(await drive.send(client, buffer, 0, 100)).toBe(100);
      // More is asked for than there is: what there is completes it.
      expect(await drive.receive(server, buffer, 4 * KiB, 60 * KiB)).toBe(100);
      expect(matches(buffer.bytes, 4 * KiB, pattern(100, 1))).toBe(true);
      expect(await drive.send(server, buffer, 4 * KiB, 100)).toBe(100);
      // Less is asked for than there is: the rest stays.
      expect(await drive.receive(client, buffer, 8 * KiB, 30)).toBe(30);
      expect(await drive.receive(client, buffer, 8 * KiB + 30, 200)).toBe(70);
      expect(matches(buffer.bytes, 8 * KiB, pattern(100, 1))).toBe(true);
      expect(await drive.close(client)).toBe(0);
      expect(await drive.close(server)).toBe(0);
      expect(await drive.close(listener)).toBe(0);
    }));

  test("a receive that waits is completed by what arrives", () =>
    withDrive(make, async (drive) => {
      const { peer, socket } = await nodePeer(drive);
      const buffer = drive.io.allocate(4 * KiB);
      const received = drive.receive(socket, buffer, 0, 4 * KiB);
      await drive.timeout(5);
      peer.write(pattern(10, 2));
      expect(await received).toBe(10);
      expect(matches(buffer.bytes, 0, pattern(10, 2))).toBe(true);
      peer.destroy();
    }));

  test("a whole receive waits for its length and leaves the rest", () =>
    withDrive(make, async (drive) => {
      const { peer, socket } = await nodePeer(drive);
      peer.setNoDelay(true);
      const bytes = pattern(3000, 3);
      const buffer = drive.io.allocate(4 * KiB);
      const received = drive.receive(socket, buffer, 0, 2000, true);
      for (let at = 0; at < bytes.length; at += 250) {
        peer.write(bytes.subarray(at, at + 250));
        await drive.timeout(1);
      }
      expect(await received).toBe(2000);
      expect(await drive.receive(socket, buffer, 2000, 1, true)).toBe(1);
      expect(await drive.receive(socket, buffer, 2001, 999, true)).toBe(999);
      expect(matches(buffer.bytes, 0, bytes)).toBe(true);
      peer.destroy();
    }));

  test("a whole receive ends early with the stream", () =>
    withDrive(make, async (drive) => {
      const { peer, socket } = await nodePeer(drive);
      const buffer = drive.io.allocate(4 * KiB);
      const received = drive.receive(socket, buffer, 0, 1000, true);
      peer.end(pattern(300, 4));
      expect(await received).toBe(300);
      expect(matches(buffer.bytes, 0, pattern(300, 4))).toBe(true);
      expect(await drive.receive(socket, buffer, 0, 1000, true)).toBe(0);
      peer.destroy();
    }));

  test("the end of the stream is 0, again and again", () =>
    withDrive(make, async (drive) => {
      const { peer, socket } = await nodePeer(drive);
      const buffer = drive.io.allocate(4 * KiB);
      const received = drive.receive(socket, buffer, 0, 10);
      peer.end();
      expect(await received).toBe(0);
      expect(await drive.receive(socket, buffer, 0, 10)).toBe(0);
      expect(await drive.close(socket)).toBe(0);
      peer.destroy();
    }));

  test("what arrived before the end of the stream is received first", () =>
    withDrive(make, async (drive) => {
      const { peer, socket } = await nodePeer(drive);
      const buffer = drive.io.allocate(4 * KiB);
      peer.end(pattern(1000, 5));
      await drive.timeout(10);
      expect(await drive.receive(socket, buffer, 0, 600)).toBe(600);
      expect(await drive.receive(socket, buffer, 600, 600)).toBe(400);
      expect(await drive.receive(socket, buffer, 0, 600)).toBe(0);
      expect(matches(buffer.bytes, 0, pattern(1000, 5))).toBe(true);
      peer.destroy();
    }));

  test("a socket whose peer has ended its half still sends", () =>
    withDrive(make, async (drive) => {
      const { peer, socket } = await nodePeer(drive);
      const buffer = drive.io.allocate(64 * KiB);
      fillPattern(buffer.bytes, 6);
      const collected = collect(peer);
      peer.end();
      expect(await drive.receive(socket, buffer, 0, 10)).toBe(0);
      expect(await drive.send(socket, buffer, 0, 64 * KiB)).toBe(64 * KiB);
      expect(await drive.close(socket)).toBe(0);
      expect(matches(await collected, 0, pattern(64 * KiB, 6))).toBe(true);
    }));

  test("a reset by the peer fails the receive, and then the sends", () =>
    withDrive(make, async (drive) => {
      const { peer, socket } = await nodePeer(drive);
      const buffer = drive.io.allocate(4 * KiB);
      const received = drive.receive(socket, buffer, 0, 10);
      await drive.timeout(5);
      peer.resetAndDestroy();
      expect(await received).toBe(Errno.connectionReset);
      // The first may still be taken by the kernel, the next ones cannot be.
      await drive.send(socket, buffer, 0, 100);
      await drive.timeout(5);
      const sent = await drive.send(socket, buffer, 0, 100);
      expect([Errno.pipe, Errno.connectionReset]).toContain(sent);
      expect(await drive.close(socket)).toBe(0);
    }));

  test("a refused connect is −ECONNREFUSED, and its handle is not spent", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      expect(await drive.close(listener)).toBe(0);
      for (let at = 0; at < 20; at += 1) {
        expect(await drive.connect(port)).toBe(Errno.connectionRefused);
      }
      const again = drive.io.listen(host, port);
      const { client, server } = await drive.pair(again.listener, port);
      expect(Math.max(client, server)).toBeLessThan(20);
    }));

  test("a taken port and a foreign address are refused by name", () =>
    withDrive(make, async (drive) => {
      const { port } = drive.io.listen(host, 0);
      const other = drive.io.listen(host, 0);
      expect(other.port).not.toBe(port);
      expect(() => drive.io.listen(host, port)).toThrow(
        expect.objectContaining({ code: "EADDRINUSE" }),
      );
      expect(() => drive.io.listen("192.0.2.1", 0)).toThrow(
        expect.objectContaining({ code: "EADDRNOTAVAIL" }),
      );
      // The attempts did no harm to the listener that has the port.
      const { client, server } = await drive.pair(other.listener, other.port);
      expect(client).not.toBe(server);
    }));

  test("names are not looked up", () =>
    withDrive(make, async (drive) => {
      const { port } = drive.io.listen(host, 0);
      expect(await drive.connect(port, "localhost")).toBe(Errno.invalid);
      expect(() => drive.io.listen("localhost", 0)).toThrow(
        expect.objectContaining({ code: "EINVAL" }),
      );
    }));

  test("a socket is closed from inside the callbacks of its own operations", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      for (let round = 0; round < 20; round += 1) {
        const { client, server } = await drive.pair(listener, port);
        const buffer = drive.io.allocate(4 * KiB);
        const log: string[] = [];
        await new Promise<void>((resolve) => {
          const close = new Completion((done) => {
            log.push(`close ${done.result}`);
            resolve();
          });
          const receive = new Completion((done) => log.push(`receive ${done.result}`));
          const send = new Completion((done) => {
            log.push(`send ${done.result}`);
            drive.io.closeSocket(close, client);
          });
          drive.io.receive(receive, client, buffer, 0, 100, false);
          drive.io.send(send, client, buffer, 1000, 100);
        });
        expect(log).toEqual(["send 100", `receive ${Errno.canceled}`, "close 0"]);
        expect(await drive.receive(server, buffer, 0, 200)).toBe(100);
        expect(await drive.receive(server, buffer, 0, 200)).toBe(0);
        expect(await drive.close(server)).toBe(0);
      }
    }));

  const hasIpv6 = Object.values(networkInterfaces()).some((addresses) =>
    (addresses ?? []).some((address) => address.address === "::1"),
  );
  if (hasIpv6) {
    test("speaks IPv6", () =>
      withDrive(make, async (drive) => {
        const { listener, port } = drive.io.listen("::1", 0);
        const [server, client] = await Promise.all([
          drive.accept(listener),
          drive.connect(port, "::1"),
        ]);
        const buffer = drive.io.allocate(4 * KiB);
        expect(await drive.send(client, buffer, 0, 10)).toBe(10);
        expect(await drive.receive(server, buffer, 0, 100)).toBe(10);
      }));
  }

  test("connections that come before the accept wait for it", () =>
    withDrive(make, async (drive) => {
      const count = 50;
      const { listener, port } = drive.io.listen(host, 0);
      const peers: net.Socket[] = [];
      for (let at = 0; at < count; at += 1) {
        const peer = net.connect({ host, port });
        peer.on("error", () => {});
        peer.write(new Uint8Array([at]));
        peers.push(peer);
      }
      await drive.timeout(20);
      const buffer = drive.io.allocate(4 * KiB);
      const seen = new Set<number>();
      const handles = new Set<number>();
      for (let at = 0; at < count; at += 1) {
        const socket = await drive.accept(listener);
        handles.add(socket);
        expect(await drive.receive(socket, buffer, 0, 10)).toBe(1);
        seen.add(buffer.bytes[0] as number);
      }
      expect(seen.size).toBe(count);
      expect(handles.size).toBe(count);
      for (const peer of peers) peer.destroy();
    }));

  test("a connection that broke before its accept shows that when it is used", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const peer = net.connect({ host, port });
      await new Promise<void>((resolve) => peer.once("connect", resolve));
      peer.resetAndDestroy();
      await drive.timeout(10);
      const accepted = drive.accept(listener);
      const { socket: proof } = { socket: await drive.connect(port) };
      const first = await accepted;
      // The kernel may drop it from its queue, or hand it out broken.
      if (first >= 0) {
        const buffer = drive.io.allocate(4 * KiB);
        const received = drive.receive(first, buffer, 0, 10);
        const sent = await drive.send(proof, buffer, 16, 4);
        expect(sent).toBe(4);
        expect([Errno.connectionReset, 0, 4]).toContain(await received);
        expect(await drive.close(first)).toBe(0);
      } else {
        expect(first).toBe(-103);
      }
    }));

  test("close cancels the receive first, and only then frees the handle", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const { client, server } = await drive.pair(listener, port);
      const buffer = drive.io.allocate(4 * KiB);
      const log: string[] = [];
      const received = drive.receive(server, buffer, 0, 10).then((result) => {
        log.push(`receive ${result}`);
      });
      const closed = drive.close(server).then((result) => {
        log.push(`close ${result}`);
      });
      expect(await drive.receive(server, buffer, 0, 10)).toBe(badHandle);
      await Promise.all([received, closed]);
      expect(log).toEqual([`receive ${Errno.canceled}`, "close 0"]);
      expect(await drive.send(server, buffer, 0, 10)).toBe(badHandle);
      expect(await drive.receive(client, buffer, 0, 10)).toBe(0);
    }));

  test("a handle is not given out again before its close has completed", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      for (let round = 0; round < 30; round += 1) {
        const { client, server } = await drive.pair(listener, port);
        const open = new Set([client, server, listener]);
        const buffer = drive.io.allocate(4 * KiB);
        const receives = [
          drive.receive(client, buffer, 0, 10),
          drive.receive(server, buffer, 0, 10),
        ];
        const closes = [client, server].map((socket) =>
          drive.close(socket).then((result) => {
            open.delete(socket);
            return result;
          }),
        );
        const others = [drive.accept(listener), drive.connect(port)].map((opened) =>
          opened.then((socket) => {
            expect(open.has(socket)).toBe(false);
            open.add(socket);
            return socket;
          }),
        );
        expect(await Promise.all(closes)).toEqual([0, 0]);
        for (const received of await Promise.all(receives)) {
          expect([Errno.canceled, 0]).toContain(received);
        }
        for (const socket of await Promise.all(others)) expect(await drive.close(socket)).toBe(0);
      }
    }));

  test("close cancels accepts and frees the port", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const log: number[] = [];
      const accepts = [drive.accept(listener), drive.accept(listener)];
      for (const accept of accepts) accept.then((result) => log.push(result));
      expect(await drive.close(listener)).toBe(0);
      expect(log).toEqual([Errno.canceled, Errno.canceled]);
      expect(await drive.accept(listener)).toBe(badHandle);
      const again = drive.io.listen(host, port);
      expect(again.port).toBe(port);
      await drive.pair(again.listener, port);
    }));

  test("several accepts are served by as many connections", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const accepts = [0, 1, 2, 3].map(() => drive.accept(listener));
      const connects = [0, 1, 2, 3].map(() => drive.connect(port));
      const handles = await Promise.all([...accepts, ...connects]);
      expect(handles.every((handle) => handle >= 0)).toBe(true);
      expect(new Set(handles).size).toBe(8);
    }));

  test("closing a listener leaves accepted connections alone", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const { client, server } = await drive.pair(listener, port);
      expect(await drive.close(listener)).toBe(0);
      const buffer = drive.io.allocate(4 * KiB);
      fillPattern(buffer.bytes.subarray(0, 50), 7);
      expect(await drive.send(client, buffer, 0, 50)).toBe(50);
      expect(await drive.receive(server, buffer, 100, 50, true)).toBe(50);
      expect(matches(buffer.bytes, 100, pattern(50, 7))).toBe(true);
    }));

  test("handles that are not open are −EBADF", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const { client } = await drive.pair(listener, port);
      const buffer = drive.io.allocate(4 * KiB);
      expect(await drive.close(client)).toBe(0);
      for (const handle of [client, -1, 1_000_000]) {
        expect(await drive.receive(handle, buffer, 0, 10)).toBe(badHandle);
        expect(await drive.send(handle, buffer, 0, 10)).toBe(badHandle);
        expect(await drive.accept(handle)).toBe(badHandle);
        expect(await drive.close(handle)).toBe(badHandle);
      }
    }));
}
