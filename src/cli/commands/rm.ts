import { textOf } from '../../base/bytes.js';
import { removeMounted } from '../../engine/containers/remove-container.js';
import { defineCommand } from '../command.js';
import { forEach } from '../for-each.js';

interface Options {
  readonly force?: true;
}

export const rm = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<NAME...>', 'containers by name or id')
      .option('-f, --force', 'unmount them first'),
  async run(words, { force = false }, { globals, openRootToFree, print, printJson }) {
    const root = await openRootToFree();
    await forEach(
      words,
      (word) => removeMounted(root, textOf(word), { force }),
      (removed) =>
        globals.json === true
          ? printJson(removed)
          : print(removed.map(({ name }) => `${name}\n`).join('')),
    );
  },
});
