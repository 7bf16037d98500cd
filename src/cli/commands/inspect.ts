import { Option } from 'commander';
import { textOf, type ByteString } from '../../base/bytes.js';
import { inspectObject, type Inspected } from '../../engine/inspect.js';
import { defineCommand } from '../command.js';
import { compileTemplate } from '../go-template/template.js';
import { jsonValue } from '../go-template/values.js';

interface Options {
  readonly format?: ByteString;
  readonly type?: 'image' | 'layer' | 'mount';
}

export const inspect = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<IMAGE|NAME|CHAINID...>', 'images, mounts by name, layers by ChainID')
      .option('-f, --format <TEMPLATE>', 'a Go template for each')
      .addOption(
        new Option('--type <TYPE>', 'what the words are').choices(['image', 'layer', 'mount']),
      ),
  async run(words, { format, type }, { openRoot, print }) {
    const render =
      format === undefined || textOf(format) === 'json'
        ? undefined
        : compileTemplate(textOf(format));
    const root = await openRoot(false);
    const inspected: Inspected[] = [];
    for (const word of words) inspected.push(await inspectObject(root, textOf(word), type));
    if (render !== undefined) return print(inspected.map((one) => `${render(one)}\n`).join(''));
    if (format !== undefined)
      return print(inspected.map((one) => `${JSON.stringify(jsonValue(one))}\n`).join(''));
    return print(`${JSON.stringify(jsonValue(inspected), null, 4)}\n`);
  },
});
