import { textOf } from '../../base/bytes.js';
import { renameContainer } from '../../engine/containers/changes.js';
import { defineCommand } from '../command.js';

export const rename = defineCommand({
  declare: (command) =>
    void command
      .argument('<NAME>', 'a container by name or id')
      .argument('<TEXT>', 'what it is to be called'),
  async run([word, newName], _options, { globals, openRootToFree, printJson }) {
    const renamed = renameContainer(await openRootToFree(), textOf(word!), textOf(newName!));
    if (globals.json === true) await printJson(renamed);
  },
});
