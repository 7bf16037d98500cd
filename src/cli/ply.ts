/** The program `ply`: what one does with mounts and images, apart from serving one mount (which is plyfs). */
import { writeSync } from 'node:fs';
import { textOf } from '../base/bytes.js';
import { UsageError } from '../base/error.js';
import { plyCommands } from './ply-commands.js';
import { rawArguments } from './raw-arguments.js';
import { exitStatusOf, reportLine } from './report.js';
import { packageVersion } from './version.js';

function help(): string {
  const commands = Object.entries(plyCommands).map(([verb, { usage, summary }]) => [`${verb} ${usage}`.trimEnd(), summary] as const);
  const width = Math.max(...commands.map(([words]) => words.length));
  return [
    'usage: ply COMMAND [WORDS]',
    '',
    ...commands.map(([words, summary]) => `  ${words.padEnd(width)}  ${summary}`),
    '',
    '  -h, --help     Print this.',
    '  -V, --version  Print the version.',
    '',
    'To mount a union of directories, see plyfs --help.',
    '',
  ].join('\n');
}

async function main(): Promise<string> {
  const [verb, ...words] = rawArguments();
  if (verb === undefined) throw new UsageError('Say what to do: ply --help lists the commands.');
  if (verb === '-h' || verb === '--help' || verb === 'help') return help();
  if (verb === '-V' || verb === '--version' || verb === 'version') return `ply ${packageVersion()}\n`;
  const command = Object.hasOwn(plyCommands, verb) ? plyCommands[verb] : undefined;
  if (command === undefined) throw new UsageError(`There is no command '${textOf(verb)}': ply --help lists them.`);
  if (words.some((word) => word === '-h' || word === '--help')) {
    return `usage: ply ${verb} ${command.usage}`.trimEnd() + `\n\n${command.summary}\n`;
  }
  return command.run(words);
}

try {
  writeSync(1, await main());
} catch (error) {
  writeSync(2, reportLine('ply', error));
  process.exitCode = exitStatusOf(error);
}
