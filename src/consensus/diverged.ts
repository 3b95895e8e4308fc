/**
 * What a replica stops with that finds another history than its own. That it was the one to notice says
 * nothing about which of them is right: to rebuild the wrong one would make the other's history win.
 */
export function divergedText(what: string): string {
  return (
    `${what}: replicas have diverged; keep the data files of all of them, and compare their checkpoints ` +
    "with `pacioli inspect` to find out which one differs from the others before that one is rebuilt."
  );
}
