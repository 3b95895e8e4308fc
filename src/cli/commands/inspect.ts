/** `pacioli inspect`: what stands in the data file of a stopped replica. */
import { existsSync } from "node:fs";
import { defineCommand } from "../command.ts";
import { CommandError } from "../command-error.ts";
import { type InspectTopic, inspectFile, inspectTopics } from "../inspect/inspect.ts";
import { nearest } from "../nearest.ts";
import { flag } from "../options.ts";
import { formatJson } from "../output.ts";
import { userPath } from "../paths.ts";
import { Progress } from "../progress.ts";

export const inspectCommand = defineCommand({
  name: "inspect",
  summary: "Look into a data file and check it",
  description:
    "Reads the data file of a stopped replica and changes nothing. Without a topic it prints a " +
    "summary.\n" +
    "  superblock  the four copies, the format options, the checkpoint\n" +
    "  wal         every slot of the journal: what it holds and what is wrong with it\n" +
    "  replies     the kept reply of every session\n" +
    "  grid        blocks in use, by table\n" +
    "  tables      what each table and each index takes of the file\n" +
    "  integrity   reads everything that is live and checks it; exit code 1 when something is damaged",
  options: { json: flag("JSON instead of tables") },
  positionals: ["[TOPIC]", "FILE"],
  examples: ["pacioli inspect ledger.pacioli", "pacioli inspect integrity --json ledger.pacioli"],
  async run(values, positionals, terminal) {
    const [topic, file] = topicAndFile(positionals);
    const progress = new Progress(terminal);
    const startMs = performance.now();
    const { json, text, damaged } = await inspectFile(topic, userPath(file), (done, all) => {
      if (done % 256 !== 0) return;
      progress.show("checking", done, all, done / ((performance.now() - startMs) / 1000));
    });
    progress.clear();
    terminal.out(values.json ? formatJson(json) : text);
    return damaged ? 1 : 0;
  },
});

function topicAndFile(positionals: readonly string[]): [InspectTopic, string] {
  const [word, file] = positionals as [string, string | undefined];
  const topic = topicNamed(word);
  if (file === undefined) {
    if (topic === undefined || existsSync(userPath(word))) return ["summary", word];
    throw new CommandError(
      `inspect ${word} needs FILE; for example 'pacioli inspect ${word} ledger.pacioli'.`,
    );
  }
  if (topic !== undefined) return [topic, file];
  if (topicNamed(file) !== undefined) {
    throw new CommandError(`the topic comes before the file: 'pacioli inspect ${file} ${word}'.`);
  }
  const guess = nearest(word, inspectTopics);
  throw new CommandError(
    guess === undefined
      ? `there is nothing to inspect by the name '${word}'; the topics are ${inspectTopics.join(", ")}.`
      : `there is nothing to inspect by the name '${word}'; did you mean '${guess}'?`,
  );
}

function topicNamed(word: string): InspectTopic | undefined {
  return inspectTopics.find((name) => name === word);
}
