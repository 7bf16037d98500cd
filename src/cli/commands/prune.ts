import { createInterface } from 'node:readline/promises';
import { isatty } from 'node:tty';
import { UsageError } from '../../base/error.js';
import { prunable, pruneContainers } from '../../engine/containers/prune.js';
import { defineCommand } from '../command.js';
import { humanSize } from '../human-format.js';

interface Options {
  readonly force?: true;
}

export const prune = defineCommand<Options>({
  declare: (command) => void command.option('-f, --force', 'do not ask'),
  async run(_words, { force = false }, { globals, openRootToFree, print, printJson, signal }) {
    const root = await openRootToFree();
    const names = await prunable(root);
    if (!force && names.length > 0 && !(await isWanted(names, signal))) return;
    const pruned = await pruneContainers(root, names);
    if (globals.json === true) return printJson(pruned);
    const removed = pruned.removed.map(({ id }) => `${id}\n`).join('');
    await print(
      `${removed === '' ? '' : `Deleted Containers:\n${removed}\n`}Total reclaimed space: ${humanSize(pruned.reclaimed)}\n`,
    );
  },
});

async function isWanted(names: readonly string[], signal: AbortSignal): Promise<boolean> {
  const which =
    names.length === 1
      ? `the container ${names[0]!}`
      : `${names.length} containers (${names.join(', ')})`;
  if (!isatty(0))
    throw new UsageError(
      `This removes ${which} and all that was changed in them: say --force if that is meant`,
    );
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test(
      (
        await terminal.question(
          `This removes ${which} and all that was changed in them. Continue? [y/N] `,
          { signal },
        )
      ).trim(),
    );
  } finally {
    terminal.close();
  }
}
