import { textOf } from '../../base/bytes.js';
import { renameContainer } from '../../engine/container-changes.js';
import { defineCommand } from '../command.js';

export const rename = defineCommand({
  declare: (command) => void command.argument('<NAME>', 'a container by name or id').argument('<TEXT>', 'what it is to be called'),
  async run([word, newName], _options, { globals, openRoot, printJson }) {
    const renamed = renameContainer(await openRoot(true), textOf(word!), textOf(newName!));
    if (globals.json === true) await printJson(renamed);
  },
});
