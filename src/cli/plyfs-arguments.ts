/**
 * The words of plyfs's command line, which are those of fuse-overlayfs and of mount(8)'s helpers.
 */
import { parseArgs } from 'node:util';
import { textOf, type ByteString } from '../base/bytes.js';
import { UsageError, messageOf } from '../base/error.js';

export interface MountCommand {
  readonly kind: 'mount';
  readonly mountpoint: ByteString;
  /** What df(1) shows in its first column, if it was named. */
  readonly source?: ByteString;
  /** Each `-o`, in order: lists of options separated by commas. */
  readonly options: readonly ByteString[];
  readonly foreground: boolean;
  /** Trace requests on stderr; implies `foreground`. */
  readonly debug: boolean;
}

export type PlyfsCommand = { readonly kind: 'help' } | { readonly kind: 'version' } | MountCommand;

/** Throws `UsageError`. */
export function parsePlyfsArguments(words: readonly ByteString[]): PlyfsCommand {
  const { values, positionals } = parse(words);
  if (values.help) return { kind: 'help' };
  if (values.version) return { kind: 'version' };

  const [first, second, ...more] = positionals as ByteString[];
  if (first === undefined)
    throw new UsageError(
      'No mount point is named: say where to mount, as in `plyfs -o lowerdir=TOP:BOTTOM DIRECTORY`.',
    );
  if (more.length > 0)
    throw new UsageError(
      `There are too many words, from '${textOf(more[0]!)}' on: name one mount point, and at most a source before it.`,
    );

  const debug = values.debug ?? false;
  const mount = {
    kind: 'mount',
    options: (values.options ?? []) as ByteString[],
    foreground: values.foreground ?? debug,
    debug,
  } as const;
  return second === undefined
    ? { ...mount, mountpoint: first }
    : { ...mount, source: first, mountpoint: second };
}

function parse(words: readonly ByteString[]) {
  try {
    return parseArgs({
      args: [...words],
      allowPositionals: true,
      options: {
        options: { type: 'string', short: 'o', multiple: true },
        foreground: { type: 'boolean', short: 'f' },
        debug: { type: 'boolean', short: 'd' },
        // libfuse's "single-threaded", which requests always are here.
        single: { type: 'boolean', short: 's' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'V' },
      },
    });
  } catch (error) {
    // Node's message goes on with advice about its own library.
    throw new UsageError(
      `${textOf(messageOf(error).split(/\.\s|\n/)[0]! as ByteString)}: see --help.`,
    );
  }
}
