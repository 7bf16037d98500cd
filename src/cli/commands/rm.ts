import { textOf } from '../../base/bytes.js';
import { removeMounted } from '../../engine/remove-mounted.js';
import { defineCommand } from '../command.js';

interface Options {
  readonly force?: true;
}

export const rm = defineCommand<Options>({
  declare: (command) => void command.argument('<NAME...>', 'names that ply mount gave').option('-f, --force', 'unmount them first'),
  async run(words, { force = false }, { globals, openRoot, print, printJson }) {
    const root = await openRoot(true);
    const removed = [];
    for (const word of words) removed.push(await removeMounted(root, textOf(word), { force }));
    await (globals.json === true ? printJson(removed) : print(removed.map(({ name }) => `${name}\n`).join('')));
  },
});
