import { Option } from 'commander';
import { explainPaths } from '../../engine/mounts/explain.js';
import { defineCommand } from '../command.js';
import { explanationText } from '../explanation-text.js';
import { rootIfAny } from '../root-if-any.js';

interface Options {
  readonly format?: 'json';
}

export const explain = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument(
        '<NAME|IMAGE|DIR|PATH...>',
        'paths below mounts; or first a mount point, a name or an image, and then paths in it',
      )
      .addOption(
        new Option('--format <FORMAT>', 'json: an object for each path').choices(['json']),
      ),
  async run(words, { format }, context) {
    const { globals, openRoot, print, printJson } = context;
    const explained = await explainPaths(words, {
      open: () => openRoot(false),
      ifAny: () => rootIfAny(context, false),
    });
    if (globals.json === true) return printJson(explained);
    if (format === 'json')
      return print(explained.map((one) => `${JSON.stringify(one)}\n`).join(''));
    return print(explained.map((one) => explanationText(one, process.cwd())).join('\n'));
  },
});
