import { textOf, type ByteString } from '../../base/bytes.js';
import { listLayers, type LayerView } from '../../engine/images/layers.js';
import { defineCommand } from '../command.js';
import { humanSize, shortId } from '../human-format.js';
import { formatList, type Field } from '../list-format.js';

interface Options {
  /** False: `--no-trunc`. */
  readonly trunc: boolean;
  readonly format?: ByteString;
}

export const layers = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<IMAGE|CHAINID|NAME>', 'an image, a layer, or a mount by name')
      .option('--no-trunc', 'show whole ids')
      .option('--format <FORMAT>', 'table, json or a Go template for each'),
  async run([word], { trunc, format }, { globals, openRoot, print, printJson, shown }) {
    const found = listLayers(await openRoot(false), textOf(word!));
    if (globals.json === true) return printJson(found);
    return print(
      formatList(
        found,
        fieldsFor(trunc ? shortId : (id) => id),
        format === undefined ? undefined : textOf(format),
        shown,
      ),
    );
  },
});

function fieldsFor(shown: (id: string) => string): readonly Field<LayerView>[] {
  return [
    { name: 'ChainID', header: 'CHAIN ID', shown: true, value: ({ chainId }) => shown(chainId) },
    { name: 'DiffID', header: 'DIFF ID', shown: true, value: ({ diffId }) => shown(diffId) },
    { name: 'CacheID', header: 'CACHE ID', shown: true, value: ({ cacheId }) => shown(cacheId) },
    { name: 'Size', header: 'SIZE', shown: true, value: ({ size }) => humanSize(size) },
    {
      name: 'Directory',
      header: 'LOWER DIRECTORY',
      shown: true,
      value: ({ directory }) => directory,
    },
  ];
}
