import { createReadStream } from 'node:fs';
import { isatty } from 'node:tty';
import { textOf, type ByteString } from '../../base/bytes.js';
import { messageOf, PlyfsError, UsageError } from '../../base/error.js';
import type { ByteSource } from '../../base/byte-source.js';
import { importImage } from '../../engine/images/import.js';
import { defineCommand } from '../command.js';
import { warnOfLost } from '../lost-attributes.js';
import { collect } from '../ply-command-line.js';

interface Options {
  readonly change?: readonly ByteString[];
  readonly message?: ByteString;
  readonly platform?: ByteString;
  readonly quiet?: true;
}

export const importCommand = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<FILE>', 'the tar of a root file system, compressed or not; - is standard input')
      .argument('[REPOSITORY:TAG]', 'what the image is called')
      .option(
        '-c, --change <INSTRUCTION>',
        'a Dockerfile instruction applied to it, as CMD ["/bin/sh"]; may be repeated',
        collect,
      )
      .option('-m, --message <TEXT>', 'what its history says')
      .option('--platform <PLATFORM>', 'which platform it is for, as linux/arm64')
      .option('-q, --quiet', 'do not say how far it is'),
  async run(
    [file, name],
    { change, message, platform, quiet = false },
    { globals, openRoot, progress, print, printJson, signal, warn },
  ) {
    if (file === '-' && isatty(0))
      throw new UsageError('Standard input is a terminal: name a file, or redirect one');
    const root = await openRoot(true);
    const { report } = await progress(quiet, 'Importing');
    const imported = await importImage(root, tarAt(file!), {
      onProgress: report,
      signal,
      ...(name !== undefined && { name: textOf(name) }),
      ...(change !== undefined && { changes: change.map(textOf) }),
      ...(message !== undefined && { message: textOf(message) }),
      ...(platform !== undefined && { platform: textOf(platform) }),
    });
    warnOfLost(imported.lost, warn);
    await (globals.json === true ? printJson(imported) : print(`${imported.id}\n`));
  },
});

async function* tarAt(file: ByteString): ByteSource {
  try {
    yield* (
      file === '-'
        ? process.stdin
        : createReadStream(Buffer.from(file, 'latin1'), { highWaterMark: 256 * 1024 })
    ) as AsyncIterable<Buffer>;
  } catch (error) {
    throw new PlyfsError(
      'archive-unreadable',
      `${textOf(file)} cannot be read: ${messageOf(error)}.`,
      { cause: error },
    );
  }
}
