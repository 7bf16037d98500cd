import { textOf, type ByteString } from '../../base/bytes.js';
import { layerTree, type TreeLayer } from '../../engine/images/layer-tree.js';
import { defineCommand } from '../command.js';
import { ellipsis, humanSize, shortId } from '../human-format.js';
import { formatList, type Field } from '../list-format.js';

interface Options {
  /** False: `--no-trunc`. */
  readonly trunc: boolean;
  readonly format?: ByteString;
}

const CREATED_BY_LENGTH = 60;

export const tree = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<IMAGE|CHAINID|NAME>', 'an image, a layer, or a mount by name')
      .option('--no-trunc', 'show whole ids and commands')
      .option('--format <FORMAT>', 'table, json or a Go template for each'),
  async run([word], { trunc, format }, { globals, openRoot, print, printJson, shown }) {
    const layers = layerTree(await openRoot(false), textOf(word!));
    if (globals.json === true) return printJson(layers);
    await print(
      formatList(
        layers,
        fieldsFor(trunc),
        format === undefined ? undefined : textOf(format),
        shown,
      ),
    );
    if (format === undefined) await print(summary(layers));
  },
});

function fieldsFor(trunc: boolean): readonly Field<TreeLayer>[] {
  const createdBy = (text: string): string => (trunc ? ellipsis(text, CREATED_BY_LENGTH) : text);
  return [
    { name: 'Layer', header: 'LAYER', shown: true, value: ({ name }) => name },
    {
      name: 'ChainID',
      header: 'CHAIN ID',
      shown: true,
      value: ({ chainId = '' }) => (trunc ? shortId(chainId) : chainId),
    },
    { name: 'Size', header: 'SIZE', shown: true, value: ({ size }) => humanSize(size) },
    {
      name: 'Waste',
      header: 'WASTE',
      shown: true,
      value: ({ waste }) => (waste === undefined ? '' : humanSize(waste)),
    },
    {
      name: 'CreatedBy',
      header: 'CREATED BY',
      shown: true,
      value: (layer) => createdBy((layer.createdBy ?? '').replaceAll('\t', ' ')),
    },
    { name: 'Directory', header: 'DIRECTORY', shown: false, value: ({ directory }) => directory },
  ];
}

function summary(layers: readonly TreeLayer[]): string {
  const known = layers.filter(({ waste }) => waste !== undefined);
  if (known.length === 0) return '';
  const size = known.reduce((sum, layer) => sum + layer.size, 0);
  const waste = known.reduce((sum, layer) => sum + layer.waste!, 0);
  const share = size === 0 ? 0 : Math.round((100 * waste) / size);
  return `\nOf ${humanSize(size)}, ${humanSize(waste)} (${share}%) are waste: shadowed or deleted by the layers above.\n`;
}
