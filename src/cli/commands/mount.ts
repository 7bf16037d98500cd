import { textOf, type ByteString } from '../../base/bytes.js';
import { mountImage } from '../../engine/mounts/mount-image.js';
import { defineCommand } from '../command.js';
import { parseSize } from '../human-format.js';

interface Options {
  readonly ro?: true;
  readonly suid?: true;
  readonly dev?: true;
  readonly name?: ByteString;
  readonly size?: ByteString;
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
    { ro = false, suid = false, dev = false, name, size },
    { globals, openRoot, print, printJson, signal },
  ) {
    const limit = size === undefined ? undefined : parseSize(textOf(size));
    const root = await openRoot(!ro || name !== undefined);
    const mounted = await mountImage(root, textOf(word!), {
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
