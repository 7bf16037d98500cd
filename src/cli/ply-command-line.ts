/**
 * The words of ply's command line: global options, the command's name, and what belongs to the
 * command.
 *
 * commander parses texts; here they are byte strings, which it only compares and cuts. What it says
 * about them goes through `textOf`.
 */
import { Command, Option, type CommanderError } from 'commander';
import { textOf, type ByteString } from '../base/bytes.js';
import { UsageError } from '../base/error.js';
import type { GlobalOptions } from './command.js';

/** Help was asked for: the text is the answer. */
export class HelpAsked extends Error {
  readonly text: string;

  constructor(text: string) {
    super('help');
    this.text = text;
  }
}

export function globalOptions(): Option[] {
  return [
    new Option(
      '--root <DIR>',
      'the data root (default: /var/lib/plyfs, or ~/.local/share/plyfs when not root)',
    ),
    new Option(
      '--storage-driver <NAME>',
      'how layers lie on disk: overlay2, fuse-overlayfs, aufs, vfs',
    ),
    new Option(
      '--storage-opt <KEY=VALUE>',
      'an option of the storage driver; may be repeated',
    ).argParser(collect),
    new Option('--mounter <NAME>', 'what mounts layers').choices(['fuse', 'kernel']),
    new Option('--writable', 'change a data root that another program made'),
    new Option('--json', 'print one JSON document'),
  ];
}

/** For an option that may be repeated. */
export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/**
 * The command `name` without anything of its own. It throws where commander would end the process.
 */
export function bareCommand(name: string): Command {
  let help = '';
  return new Command(name)
    .helpCommand(false)
    .helpOption('-h, --help', 'print this')
    .configureOutput({
      writeOut: (text) => (help += text),
      writeErr: () => undefined,
      outputError: () => undefined,
    })
    .exitOverride((error) => {
      throw error.code === 'commander.helpDisplayed'
        ? new HelpAsked(help)
        : usageErrorOf(error, name);
    });
}

/** The same with the global options, which its help leaves to `ply --help`. */
export function subcommand(name: string, summary: string): Command {
  const command = bareCommand(`ply ${name}`).description(summary);
  for (const option of globalOptions()) command.addOption(option.hideHelp());
  return command.addHelpText('after', '\nGlobal options: see ply --help.');
}

/** What stands before the command, its name, and the words after it. */
export function splitCommandLine(
  program: Command,
  words: readonly ByteString[],
): { globals: GlobalOptions; name?: string; rest: ByteString[] } {
  program.passThroughOptions().argument('[COMMAND]').argument('[WORDS...]');
  program.parse(words, { from: 'user' });
  const [name, ...rest] = program.args;
  return {
    globals: program.opts(),
    ...(name === undefined ? {} : { name }),
    rest: rest as ByteString[],
  };
}

function usageErrorOf(error: CommanderError, name: string): UsageError {
  const [sentence = '', suggestion = ''] = error.message
    .replace(/^error: /, '')
    .replace('. Expected', ', expected')
    .split('\n');
  const text = textOf(sentence as ByteString).replace(/\.$/, '');
  const hint =
    suggestion === ''
      ? `see ${name} --help`
      : textOf(suggestion as ByteString).replace(/^\(|\)$/g, '');
  return new UsageError(
    `${text.charAt(0).toUpperCase()}${text.slice(1)}: ${hint.charAt(0).toLowerCase()}${hint.slice(1)}`,
  );
}
