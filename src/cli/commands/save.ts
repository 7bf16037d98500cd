import { isatty } from 'node:tty';
import { textOf, type ByteString } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import { saveImage } from '../../engine/images/save.js';
import { defineCommand } from '../command.js';
import { printAll } from '../output.js';
import { writeOutputFile } from '../output-file.js';

interface Options {
  readonly output?: ByteString;
  readonly quiet?: true;
}

export const save = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<IMAGE...>', 'images by name or id; a repository without a tag means all its tags')
      .option('-o, --output <FILE>', 'write to a file instead of standard output')
      .option('-q, --quiet', 'do not say how far it is'),
  async run(words, { output, quiet = false }, { globals, openRoot, progress, printJson, signal }) {
    if (output === undefined && isatty(1))
      throw new UsageError('Standard output is a terminal: name a file with -o, or redirect it');
    if (output === undefined && globals.json === true)
      throw new UsageError('Standard output is the archive: with --json, name a file with -o');
    const root = await openRoot(false);
    const { report } = await progress(quiet, 'Saving');
    const archive = saveImage(root, words.map(textOf), { onProgress: report, signal });
    if (output === undefined) return printAll(archive);
    const bytes = await writeOutputFile(output, archive, signal);
    if (globals.json === true) await printJson({ file: textOf(output), bytes });
  },
});
