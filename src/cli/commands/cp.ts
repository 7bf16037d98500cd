import { isatty } from 'node:tty';
import { textOf, type ByteString } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import {
  copyIn,
  copyOut,
  copyOutAsTar,
  copyTarIn,
  type Copied,
} from '../../engine/containers/copy-files.js';
import { defineCommand } from '../command.js';
import { printAll } from '../output.js';

interface Options {
  readonly archive?: true;
  readonly followLink?: true;
}

interface Where {
  /** Absent: the host. */
  readonly container?: string;
  readonly path: ByteString;
}

export const cp = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument(
        '<NAME:PATH|FILE|->',
        'what is copied: of a container or of the host; DIR/. for what is in it; - is a tar on standard input',
      )
      .argument('<NAME:PATH|FILE|->', 'where to; - is standard output, as a tar')
      .option('-a, --archive', 'out of a container: keep owners')
      .option('-L, --follow-link', 'copy what a link leads to'),
  async run(
    [from, to],
    { archive = false, followLink = false },
    { globals, openRoot, printJson, signal, warn },
  ) {
    const [source, target] = [whereOf(from!), whereOf(to!)];
    const options = { followLink, keepOwners: archive, signal };
    let copied: Copied;
    if (source.container !== undefined && target.container !== undefined)
      throw new UsageError(
        'Files go between a container and the host: copy to the host first, or pipe a tar from one ply cp to another',
      );
    if (source.container !== undefined) {
      const { container, path } = source;
      if (target.path === '-') {
        if (isatty(1)) throw new UsageError('Standard output is a terminal: redirect it');
        return copyOutAsTar(await openRoot(false), container, path, printAll, options);
      }
      copied = await copyOut(await openRoot(false), container, path, target.path, options);
    } else if (target.container !== undefined) {
      const { container, path } = target;
      if (source.path === '-' && isatty(0))
        throw new UsageError('Standard input is a terminal: redirect it');
      const root = await openRoot(true);
      copied =
        source.path === '-'
          ? await copyTarIn(root, container, process.stdin, path, options)
          : await copyIn(root, container, source.path, path, options);
    } else throw new UsageError('One of the two must be in a container: write it as NAME:PATH');
    for (const problem of copied.problems) warn(problem);
    if (globals.json === true) await printJson({ files: copied.files, bytes: copied.bytes });
  },
});

/**
 * As docker: a path of the host's that has a colon is written with a slash before that, as `./a:b`.
 */
function whereOf(word: ByteString): Where {
  const [, container, path] = /^([^/:.][^/:]*):([^]*)$/.exec(word) ?? [];
  if (container === undefined || path === undefined) return { path: word };
  if (path === '')
    throw new UsageError(`'${textOf(word)}' names no path in the container: write it as NAME:PATH`);
  return { container: textOf(container as ByteString), path: path as ByteString };
}
