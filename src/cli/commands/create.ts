import { textOf, type ByteString } from '../../base/bytes.js';
import { createContainer } from '../../engine/containers/create.js';
import { defineCommand } from '../command.js';
import { parseSize } from '../human-format.js';
import { obtainFor } from '../obtain.js';
import {
  containerOptionsOf,
  declareContainerOptions,
  type ContainerOptions,
} from './container-options.js';

interface Options extends ContainerOptions {
  readonly size?: ByteString;
}

export const create = defineCommand<Options>({
  declare: (command) =>
    void declareContainerOptions(
      command
        .passThroughOptions()
        .argument('<IMAGE|CHAINID>', 'what it is made of')
        .argument('[COMMAND...]', "what it is to run, instead of the image's command"),
    ).option(
      '--size <BYTES>',
      'most that can be written, as 10G, where the storage driver can keep that',
    ),
  async run([word, ...command], options, context) {
    const { globals, openRoot, print, printJson } = context;
    const limit = options.size === undefined ? undefined : parseSize(textOf(options.size));
    const obtained = await obtainFor(
      context,
      await openRoot(true),
      textOf(word!),
      ['image', 'layer'],
      options.pull,
    );
    const container = await createContainer(obtained.root, obtained.word, {
      ...containerOptionsOf(options),
      ...(command.length > 0 && { command: command.map(textOf) }),
      ...(limit !== undefined && { size: limit }),
    });
    await (globals.json === true
      ? printJson({ id: container.id, name: container.name })
      : print(`${container.id}\n`));
  },
});
