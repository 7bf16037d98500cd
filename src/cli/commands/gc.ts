import { PlyfsError } from '../../base/error.js';
import { collectGarbage } from '../../engine/gc.js';
import { defineCommand } from '../command.js';

interface Options {
  readonly dryRun?: true;
}

export const gc = defineCommand<Options>({
  declare: (command) => void command.option('-n, --dry-run', 'only say what would be removed'),
  async run(_words, { dryRun = false }, { globals, openRoot, openRootToFree, print, printJson }) {
    const { removed, failed } = await collectGarbage(
      await (dryRun ? openRoot(false) : openRootToFree()),
      { dryRun },
    );
    if (globals.json === true) await printJson({ removed, failed });
    else await print(removed.map(({ path, reason }) => `${path} ${reason}.\n`).join(''));
    const [first] = failed;
    if (first !== undefined)
      throw new PlyfsError(
        'removal-unfinished',
        `${first.path} could not be removed: ${first.error}`,
      );
  },
});
