/**
 * The child of fallback.test.ts: opens a backend, moves something through it, and prints what it
 * got as one line of JSON. Arguments: backend, path of a file to write.
 */
import { closeSync, openSync } from "node:fs";
import { Completion } from "../../src/io/io.ts";
import { type IoOptions, openIo } from "../../src/io/open-io.ts";

const [backend, path] = process.argv.slice(2) as [IoOptions["backend"], string];

try {
  const { io, note } = openIo({ backend, drive: "owned" });
  const fd = openSync(path, "w+");
  const buffer = io.allocate(4096);
  io.start(() => {});
  const written = new Completion((done) => {
    const { result } = done;
    io.stop(() => {
      closeSync(fd);
      console.log(JSON.stringify({ name: io.name, note, result }));
    });
  });
  io.write(written, fd, buffer, 0, 4096, 0, true);
} catch (error) {
  const { name, code, message } = error as Error & { code: string };
  console.log(JSON.stringify({ name, code, message }));
}
