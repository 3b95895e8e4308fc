/** The part of the message bus that a replica needs: its clients', and its peers'. */
import type { Message } from "../io/message-pool.ts";
import type { ClientBus } from "./client-port.ts";

export interface ReplicaBus extends ClientBus {
  /**
   * Sends to another replica of the cluster; a message may be lost, doubled or overtaken on its way.
   * The message must not change until it was sent; a reference is taken.
   * @returns false: dropped at once (no connection, or its queue is full).
   */
  sendToReplica(replica: number, message: Message): boolean;
}
