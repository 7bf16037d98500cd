import { textOf } from '../../base/bytes.js';
import { tagImage } from '../../engine/images/tag.js';
import { defineCommand } from '../command.js';

export const tag = defineCommand({
  declare: (command) =>
    void command
      .argument('<IMAGE>', 'an image by name or id')
      .argument('<REPOSITORY:TAG>', 'its other name'),
  async run([name, target], _options, { globals, openRoot, printJson }) {
    const tagged = tagImage(await openRoot(true), textOf(name!), textOf(target!));
    if (globals.json === true) await printJson(tagged);
  },
});
