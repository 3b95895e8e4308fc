/**
 * A listening socket over `node:net`. Node accepts whatever arrives; here the connections wait,
 * unread, for the owner's `accept`, and beyond a limit they are reset, as a full backlog would.
 *
 * Listening is synchronous by contract, so that a start that fails can say so. `Server.listen` is
 * so only for a socket that is bound already, and what binds one is `net._createServerHandle`, made
 * for Node's cluster module.
 */
import * as net from "node:net";
import { getSystemErrorName } from "node:util";
import { assert } from "../../core/assert.ts";
import { RingQueue } from "../../core/ring-queue.ts";
import type { Completion, IoStats } from "../io.ts";
import type { Connection } from "./connection.ts";
import { errnoOf } from "./errno.ts";
import type { Turn } from "./turn.ts";

/** Connections that wait for an accept. */
export const arrivedMax = 512;
/** Accepts that wait for a connection, per listener. */
const acceptsMax = 64;

type ServerHandle = object;
type CreateServerHandle = (
  address: string,
  port: number,
  addressType: 4 | 6,
  fd: number | undefined,
  flags: number,
) => ServerHandle | number;

function bind(host: string, port: number): ServerHandle {
  const family = net.isIP(host);
  if (family !== 4 && family !== 6) throw listenError("EINVAL", host, port);
  const create = (net as unknown as { _createServerHandle?: CreateServerHandle })
    ._createServerHandle;
  assert(create !== undefined, "this version of Node can bind a socket at once");
  const handle = create(host, port, family, undefined, 0);
  if (typeof handle === "number") throw listenError(getSystemErrorName(handle), host, port);
  return handle;
}

function listenError(code: string, host: string, port: number): Error {
  return Object.assign(new Error(`listen ${code}: ${host}:${port}`), { code });
}

/** What a listener needs from the table of sockets. */
export interface Arrivals {
  adopt(socket: net.Socket): Connection;
  /** Ends the accept with the connection's handle, or with an error. */
  accepted(accept: Completion, connection: Connection): void;
}

export class Listener {
  readonly port: number;
  private readonly accepts = new RingQueue<Completion>(acceptsMax);
  private readonly arrived = new RingQueue<Connection>(arrivedMax);
  private readonly server: net.Server;
  private closed = false;

  /** @throws {Error} with `code`: EADDRINUSE, EACCES, EADDRNOTAVAIL… */
  constructor(
    host: string,
    port: number,
    private readonly turn: Turn,
    private readonly stats: IoStats,
    private readonly arrivals: Arrivals,
  ) {
    this.server = net.createServer({
      allowHalfOpen: true,
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
    });
    this.server.on("connection", (socket) => this.onConnection(socket));
    this.server.on("error", (error: NodeJS.ErrnoException) => this.onError(error));
    this.server.listen(bind(host, port));
    const address = this.server.address();
    // A busy port shows only when the bound socket begins to listen; Node tells of it later.
    if (address === null || typeof address === "string") {
      throw listenError("EADDRINUSE", host, port);
    }
    this.port = address.port;
    this.stats.systemCalls += 3;
  }

  accept(completion: Completion): void {
    const connection = this.arrived.shift();
    if (connection !== undefined) this.arrivals.accepted(completion, connection);
    else this.accepts.push(completion);
  }

  /** Ends waiting accepts with `errno` and closes the connections that nobody accepted. */
  close(errno: number): void {
    this.closed = true;
    for (let left = this.accepts.length; left > 0; left -= 1) {
      this.turn.end(this.accepts.shift() as Completion, errno);
    }
    for (let left = this.arrived.length; left > 0; left -= 1) {
      (this.arrived.shift() as Connection).close();
    }
    this.stats.systemCalls += 1;
    // Closes the descriptor at once; its callback would wait for accepted connections to end.
    this.server.close();
  }

  private onConnection(socket: net.Socket): void {
    this.stats.systemCalls += 1;
    if (this.closed || (this.accepts.length === 0 && this.arrived.full)) {
      socket.on("error", () => {});
      socket.resetAndDestroy();
      return;
    }
    const connection = this.arrivals.adopt(socket);
    const accept = this.accepts.shift();
    if (accept !== undefined) this.arrivals.accepted(accept, connection);
    else this.arrived.push(connection);
  }

  private onError(error: NodeJS.ErrnoException): void {
    const accept = this.accepts.shift();
    if (accept !== undefined) this.turn.end(accept, errnoOf(error));
  }
}
