import { fstatSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { ByteSource } from '../../base/byte-source.js';
import { textOf, type ByteString } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import { loadImage } from '../../engine/images/load.js';
import { defineCommand } from '../command.js';
import { warnOfLost } from '../lost-attributes.js';
import { pathText } from '../path-text.js';

interface Options {
  readonly input?: ByteString;
  readonly quiet?: true;
  readonly platform?: ByteString;
}

export const load = defineCommand<Options>({
  declare: (command) =>
    void command
      .option(
        '-i, --input <FILE>',
        'read from a file, or a directory with an OCI layout, instead of standard input',
      )
      .option('-q, --quiet', 'say nothing but what was loaded')
      .option(
        '--platform <PLATFORM>',
        'images for this platform only, as linux/arm64; default: of an image for several the one for this machine',
      ),
  async run(
    _words,
    { input, quiet = false, platform },
    { globals, openRoot, progress, print, printJson, signal, warn },
  ) {
    if (input === undefined && isatty(0))
      throw new UsageError(
        'Standard input is a terminal: name an archive with -i, or redirect one',
      );
    const source = input === undefined ? standardInput() : { path: pathText(input, 'the file') };
    const root = await openRoot(true);
    const { report } = await progress(quiet, 'Loading');
    const loaded = await loadImage(root, source, {
      onProgress: report,
      onWarning: warn,
      signal,
      ...(platform !== undefined && { platform: textOf(platform) }),
    });
    for (const { lost } of loaded) warnOfLost(lost, warn);
    if (globals.json === true) return printJson(loaded);
    for (const { id, tags, replaced } of loaded) {
      for (const { tag, former } of replaced)
        await print(
          `The image ${tag} already exists, renaming the old one with ID ${former} to empty string\n`,
        );
      for (const tag of tags) await print(`Loaded image: ${tag}\n`);
      if (tags.length === 0) await print(`Loaded image ID: ${id}\n`);
    }
  },
});

/** A file is read where it is needed, whatever else from beginning to end. */
function standardInput(): { descriptor: number; name: string } | ByteSource {
  return fstatSync(0).isFile() ? { descriptor: 0, name: 'standard input' } : process.stdin;
}
