import { isatty } from 'node:tty';
import { textOf, type ByteString } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import { exportContainer } from '../../engine/containers/export.js';
import { defineCommand } from '../command.js';
import { printAll } from '../output.js';
import { writeOutputFile } from '../output-file.js';

interface Options {
  readonly output?: ByteString;
}

export const exportCommand = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<NAME>', 'a container by name or id')
      .option('-o, --output <FILE>', 'write to a file instead of standard output'),
  async run([word], { output }, { globals, openRoot, printJson, signal }) {
    if (output === undefined && isatty(1))
      throw new UsageError('Standard output is a terminal: name a file with -o, or redirect it');
    if (output === undefined && globals.json === true)
      throw new UsageError('Standard output is the archive: with --json, name a file with -o');
    const archive = exportContainer(await openRoot(false), textOf(word!), { signal });
    if (output === undefined) return printAll(archive);
    const bytes = await writeOutputFile(output, archive, signal);
    if (globals.json === true) await printJson({ file: textOf(output), bytes });
  },
});
