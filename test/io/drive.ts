/**
 * Drives one backend for a test: operations as promises, temporary files, and the rules of the
 * contract that hold for every operation, checked at each.
 */
import { closeSync, constants, ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert } from "../../src/core/assert.ts";
import type { FileHandle, Io, IoBuffer, SocketHandle } from "../../src/io/io.ts";
import { Completion } from "../../src/io/io.ts";

export interface MakeIo {
  (): Io;
  /** Every file that a test opens is registered with the backend, as far as it has places. */
  readonly registersFiles?: boolean;
}

interface RegistersFiles {
  registerFile(file: FileHandle): boolean;
  unregisterFile(file: FileHandle): void;
}

export interface Pair {
  readonly client: SocketHandle;
  readonly server: SocketHandle;
}

export class Drive {
  readonly io: Io;
  turns = 0;
  private readonly directory: string;
  private readonly files = new Set<number>();
  private filesMade = 0;
  /** Null where files are not registered. */
  private readonly registry: RegistersFiles | null;
  private readonly registered = new Set<number>();
  private stopping: Promise<void> | null = null;

  constructor(make: MakeIo) {
    this.io = make();
    this.registry = make.registersFiles === true ? (this.io as Io & RegistersFiles) : null;
    // Direct I/O needs a file system with blocks: a machine whose tmpdir lies in memory names one.
    this.directory = mkdtempSync(join(process.env["PACIOLI_TEST_DIR"] ?? tmpdir(), "pacioli-io-"));
  }

  start(): void {
    this.io.start(() => {
      this.turns += 1;
    });
  }

  /** Starts one operation and gives its result. */
  run(begin: (completion: Completion) => void): Promise<number> {
    return new Promise((resolve, reject) => {
      let inside = true;
      let calls = 0;
      const completion = new Completion((done) => {
        calls += 1;
        if (done !== completion) reject(new Error("called back with another completion"));
        else if (inside) reject(new Error("called back from inside the call"));
        else if (done.busy) reject(new Error("busy in its callback"));
        else if (calls > 1) reject(new Error("called back twice"));
        else resolve(done.result);
      });
      begin(completion);
      inside = false;
      if (!completion.busy) reject(new Error("not busy after its start"));
    });
  }

  read(
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): Promise<number> {
    return this.run((c) => this.io.read(c, file, buffer, bufferAt, length, fileAt));
  }

  write(
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): Promise<number> {
    return this.run((c) => this.io.write(c, file, buffer, bufferAt, length, fileAt, durable));
  }

  sync(file: FileHandle): Promise<number> {
    return this.run((c) => this.io.sync(c, file));
  }

  timeout(milliseconds: number): Promise<number> {
    return this.run((c) => this.io.timeout(c, milliseconds));
  }

  accept(listener: SocketHandle): Promise<number> {
    return this.run((c) => this.io.accept(c, listener));
  }

  connect(port: number, host = "127.0.0.1"): Promise<number> {
    return this.run((c) => this.io.connect(c, host, port));
  }

  receive(
    socket: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    whole = false,
  ): Promise<number> {
    return this.run((c) => this.io.receive(c, socket, buffer, bufferAt, length, whole));
  }

  send(socket: SocketHandle, buffer: IoBuffer, bufferAt: number, length: number): Promise<number> {
    return this.run((c) => this.io.send(c, socket, buffer, bufferAt, length));
  }

  close(socket: SocketHandle): Promise<number> {
    return this.run((c) => this.io.closeSocket(c, socket));
  }

  /** Two ends of one connection, both the backend's. */
  async pair(listener: SocketHandle, port: number): Promise<Pair> {
    const [server, client] = await Promise.all([this.accept(listener), this.connect(port)]);
    assert(server >= 0, "the connection is accepted");
    assert(client >= 0, "the connection is made");
    return { client, server };
  }

  /** A new file of `sizeBytes` zeros. */
  openFile(sizeBytes: number, direct: boolean): FileHandle {
    this.filesMade += 1;
    const path = join(this.directory, `file-${this.filesMade}`);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    const fd = openSync(path, direct ? flags | constants.O_DIRECT : flags, 0o600);
    this.files.add(fd);
    ftruncateSync(fd, sizeBytes);
    if (this.registry?.registerFile(fd) === true) this.registered.add(fd);
    return fd;
  }

  closeFile(fd: FileHandle): void {
    assert(this.files.delete(fd), "the file is open");
    if (this.registered.delete(fd)) this.registry?.unregisterFile(fd);
    closeSync(fd);
  }

  stop(): Promise<void> {
    this.stopping ??= new Promise((resolve, reject) => {
      let inside = true;
      let calls = 0;
      this.io.stop(() => {
        calls += 1;
        if (inside) reject(new Error("stopped inside the call"));
        else if (calls > 1) reject(new Error("stopped twice"));
        else resolve();
      });
      inside = false;
    });
    return this.stopping;
  }

  async end(): Promise<void> {
    await this.stop();
    for (const fd of this.files) closeSync(fd);
    rmSync(this.directory, { recursive: true });
  }
}

export async function withDrive(
  make: MakeIo,
  body: (drive: Drive) => Promise<void>,
): Promise<void> {
  const drive = new Drive(make);
  drive.start();
  try {
    await body(drive);
  } finally {
    await drive.end();
  }
}

/** Writes bytes that tell their place: a shifted or stale range shows. */
export function fillPattern(bytes: Uint8Array, seed: number): void {
  let state = seed >>> 0;
  for (let at = 0; at < bytes.length; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
}

export function pattern(sizeBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  fillPattern(bytes, seed);
  return bytes;
}

/** True when bytes[at…at + expected.length) are those of `expected`. */
export function matches(bytes: Uint8Array, at: number, expected: Uint8Array): boolean {
  return Buffer.compare(bytes.subarray(at, at + expected.length), expected) === 0;
}
