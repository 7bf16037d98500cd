import { textOf } from '../../base/bytes.js';
import { removeImage, type RemovedView } from '../../engine/images/remove.js';
import { defineCommand } from '../command.js';
import { forEach } from '../for-each.js';

interface Options {
  readonly force?: true;
  /** False: `--no-prune`. */
  readonly prune: boolean;
}

export const rmi = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<IMAGE...>', 'images by name or id')
      .option('-f, --force', 'also with several names, or read-write layers on it')
      .option('--no-prune', 'keep images without a name that it was made from'),
  async run(words, { force = false, prune }, { globals, openRootToFree, print, printJson }) {
    const root = await openRootToFree();
    await forEach(
      words,
      (word) => removeImage(root, textOf(word), { force, prune }),
      (done) => {
        const removed: RemovedView[] = done.flat();
        if (globals.json === true) return printJson(removed);
        return print(
          removed
            .map((step) =>
              'untagged' in step ? `Untagged: ${step.untagged}\n` : `Deleted: ${step.deleted}\n`,
            )
            .join(''),
        );
      },
    );
  },
});
