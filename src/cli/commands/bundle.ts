import { textOf, type ByteString } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import { makeBundle } from '../../engine/containers/bundle.js';
import { defineCommand } from '../command.js';
import { collect } from '../ply-command-line.js';
import {
  containerOptionsOf,
  declareContainerOptions,
  type ContainerOptions,
} from './container-options.js';

interface Options extends ContainerOptions {
  readonly tty?: true;
  readonly volume?: readonly ByteString[];
  readonly readOnly?: true;
  readonly network?: ByteString;
}

export const bundle = defineCommand<Options>({
  declare: (command) =>
    void declareContainerOptions(
      command
        .passThroughOptions()
        .argument('<IMAGE|CHAINID>', 'what it is made of')
        .argument('<DIR>', 'where it is made: config.json, and rootfs, mounted')
        .argument('[COMMAND...]', "what it is to run, instead of the image's command")
        .option('-t, --tty', 'it is to have a terminal'),
    )
      .option(
        '-v, --volume <SOURCE:TARGET>',
        'a directory or file of the host, shown in it; :ro after it: to be read only; may be repeated',
        collect,
      )
      .option('--read-only', 'its root file system is not to be written to')
      .option(
        '--network <host|none>',
        "the host's network, or nothing but a loopback interface (default: host)",
      ),
  async run([word, directory, ...command], options, { globals, openRoot, print, printJson }) {
    const { tty = false, readOnly = false, volume, network = 'host' as ByteString } = options;
    const chosen = (['host', 'none'] as const).find((each) => each === network);
    if (chosen === undefined)
      throw new UsageError(`there is no network '${textOf(network)}': use host or none`);
    const made = await makeBundle(await openRoot(true), textOf(word!), directory!, {
      ...containerOptionsOf(options),
      ...(command.length > 0 && { words: command }),
      ...(volume !== undefined && { volumes: volume }),
      ...(tty && { terminal: { rows: 0, columns: 0 } }),
      readOnly,
      network: chosen,
    });
    await (globals.json === true ? printJson(made) : print(`${made.name}\n`));
  },
});
