import { textOf } from '../../base/bytes.js';
import { resetContainer } from '../../engine/containers/changes.js';
import { defineCommand } from '../command.js';
import { forEach } from '../for-each.js';

export const reset = defineCommand({
  declare: (command) =>
    void command.argument('<NAME...>', 'containers by name or id, none of them mounted'),
  async run(words, _options, { globals, openRootToFree, print, printJson }) {
    const root = await openRootToFree();
    await forEach(
      words,
      async (word) => ({ name: await resetContainer(root, textOf(word)) }),
      (done) =>
        globals.json === true
          ? printJson(done)
          : print(done.map(({ name }) => `${name}\n`).join('')),
    );
  },
});
