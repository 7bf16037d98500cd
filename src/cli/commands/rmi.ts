import { textOf } from '../../base/bytes.js';
import { removeImage, type RemovedView } from '../../engine/remove-image.js';
import { defineCommand } from '../command.js';

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
  async run(words, { force = false, prune }, { globals, openRoot, print, printJson }) {
    const root = await openRoot(true);
    const removed: RemovedView[] = [];
    // What cannot be removed keeps no other from being removed; the first reason is told in the end.
    const failures: unknown[] = [];
    for (const word of words) {
      try {
        removed.push(...(await removeImage(root, textOf(word), { force, prune })));
      } catch (error) {
        failures.push(error);
      }
    }
    if (globals.json === true) await printJson(removed);
    else await print(removed.map((step) => ('untagged' in step ? `Untagged: ${step.untagged}\n` : `Deleted: ${step.deleted}\n`)).join(''));
    if (failures.length > 0) throw failures[0];
  },
});
