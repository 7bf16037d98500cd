import { isatty } from 'node:tty';
import { textOf, type ByteString } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import { runContainer } from '../../engine/containers/run.js';
import { defineCommand } from '../command.js';
import { obtainFor } from '../obtain.js';
import { collect } from '../ply-command-line.js';
import {
  containerOptionsOf,
  declareContainerOptions,
  type ContainerOptions,
} from './container-options.js';

interface Options extends ContainerOptions {
  readonly interactive?: true;
  readonly tty?: true;
  readonly rm?: true;
  readonly volume?: readonly ByteString[];
  readonly readOnly?: true;
  readonly network?: ByteString;
  readonly runtime?: ByteString;
}

const networks = ['host', 'none'] as const;

export const run = defineCommand<Options>({
  declare: (command) =>
    void declareContainerOptions(
      command
        .passThroughOptions()
        .argument(
          '<IMAGE|CHAINID|NAME>',
          'what a container is made of, or one that is there already',
        )
        .argument('[COMMAND...]', "what it runs, instead of the image's command")
        .option('-i, --interactive', 'standard input reaches the container')
        .option('-t, --tty', 'it gets a terminal')
        .option('--rm', 'the container is removed when its program has ended'),
    )
      .option(
        '-v, --volume <SOURCE:TARGET>',
        'a directory or file of the host, shown in it; :ro after it: to be read only; may be repeated',
        collect,
      )
      .option('--read-only', 'its root file system cannot be written to')
      .option(
        '--network <host|none>',
        "the host's network, or nothing but a loopback interface (default: host)",
      )
      .option(
        '--runtime <PROGRAM>',
        'an OCI runtime that runs it: crun or runc (default: none is needed)',
      ),
  async run([word, ...command], options, context) {
    const { openRoot, exitWith, releaseSignals } = context;
    const { interactive = false, tty = false, rm = false, readOnly = false, volume } = options;
    const network = networks.find((each) => each === (options.network ?? 'host'));
    if (network === undefined)
      throw new UsageError(`there is no network '${textOf(options.network!)}': use host or none`);
    if (tty && interactive && !isatty(0))
      throw new UsageError('standard input is no terminal: leave -t out');
    const kinds = ['image', 'layer', 'mount'] as const;
    const obtained = await obtainFor(
      context,
      await openRoot(true),
      textOf(word!),
      options.name === undefined ? kinds : ['image', 'layer'],
      options.pull,
    );
    releaseSignals();
    const status = await runContainer(obtained.root, obtained.word, {
      ...containerOptionsOf(options),
      ...(command.length > 0 && { words: command }),
      ...(volume !== undefined && { volumes: volume }),
      ...(tty && {
        terminal: isatty(1)
          ? { rows: process.stdout.rows, columns: process.stdout.columns }
          : { rows: 0, columns: 0 },
      }),
      ...(options.runtime !== undefined && { runtime: textOf(options.runtime) }),
      readOnly,
      network,
      interactive,
      remove: rm,
    });
    exitWith(status);
  },
});
