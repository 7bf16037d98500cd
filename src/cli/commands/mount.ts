import { textOf, type ByteString } from '../../base/bytes.js';
import { mountImage } from '../../engine/mounts/mount-image.js';
import { defineCommand } from '../command.js';
import { parseSize } from '../human-format.js';
import { obtainFor, PULL_OPTION } from '../obtain.js';

interface Options {
  readonly ro?: true;
  readonly suid?: true;
  readonly dev?: true;
  readonly name?: ByteString;
  readonly size?: ByteString;
  readonly pull?: ByteString;
}

export const mount = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<IMAGE|CHAINID|NAME>', 'a container by name or id, an image, or a layer')
      .argument('<DIR>', 'an existing directory')
      .option('--ro', 'to be read only: no layer is made for changes')
      .option(
        '--suid',
        'set-id programs of the image run with the rights of their owner, for all users who reach DIR',
      )
      .option('--dev', 'devices of the image can be opened')
      .option(...PULL_OPTION)
      .option(
        '--name <NAME>',
        'of the layer that holds the changes, and stays: one that exists is mounted again (default: a random name)',
      )
      .option(
        '--size <BYTES>',
        'most that can be written, as 10G, where the storage driver can keep that',
      ),
  async run(
    [word, directory],
    { ro = false, suid = false, dev = false, name, size, pull },
    context,
  ) {
    const { globals, openRoot, print, printJson, signal } = context;
    const limit = size === undefined ? undefined : parseSize(textOf(size));
    const obtained = await obtainFor(
      context,
      await openRoot(!ro || name !== undefined),
      textOf(word!),
      ['image', 'layer', 'mount'],
      pull,
    );
    const mounted = await mountImage(obtained.root, obtained.word, {
      directory: directory!,
      readOnly: ro,
      suid,
      dev,
      signal,
      ...(name !== undefined && { name: textOf(name) }),
      ...(limit !== undefined && { size: limit }),
    });
    if (globals.json === true) return printJson(mounted);
    if (mounted.name !== undefined) await print(`${mounted.name}\n`);
  },
});
