/**
 * The program `ply`: what one does with images and mounts, apart from serving one mount (which is
 * plyfs).
 */
import { textOf, type ByteString } from '../base/bytes.js';
import { check } from '../base/errno.js';
import { UsageError } from '../base/error.js';
import type { GlobalOptions } from './command.js';
import { ProgramContext } from './command-context.js';
import { commands } from './commands/index.js';
import { OutputClosed, print, say } from './output.js';
import {
  bareCommand,
  globalOptions,
  HelpAsked,
  splitCommandLine,
  subcommand,
} from './ply-command-line.js';
import { rawArguments } from './raw-arguments.js';
import { exitStatusOf, reportLine } from './report.js';
import { packageVersion } from './version.js';

/** As a shell says that a signal ended a program: 128 and the signal's number. */
const signalStatus = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
const OUTPUT_CLOSED_STATUS = 141;

/**
 * Milliseconds. JavaScript that has not seen a signal by then waits for something that does not
 * answer: all it writes may be cut off anywhere.
 */
const STUCK = 5000;

const aborter = new AbortController();
let signalled: number | undefined;
let acknowledge = (): void => undefined;
const handlers = Object.entries(signalStatus).map(([signal, status]) => ({
  signal,
  handle: () => {
    acknowledge();
    // Asked again: what is under way stays as a killed process leaves it.
    if (signalled !== undefined) process.exit(status);
    signalled = status;
    aborter.abort();
  },
}));
for (const { signal, handle } of handlers) process.on(signal, handle);

function releaseSignals(): void {
  for (const { signal, handle } of handlers) process.off(signal, handle);
}

/** What ply ends with. */
async function main(): Promise<number> {
  const program = bareCommand('ply').option('-V, --version', 'print the version');
  for (const option of globalOptions()) program.addOption(option);
  program.configureHelp({ formatHelp: help });
  const { globals, name, rest } = splitCommandLine(program, rawArguments());
  if (program.opts<{ version?: true }>().version === true)
    return shown(`ply ${packageVersion()}\n`);
  if (name === undefined) throw new UsageError('Say what to do: ply --help lists the commands');
  if (name === 'help' && rest.length === 0) return shown(help());

  const entry = commands.find((candidate) => candidate.name === name);
  if (entry === undefined)
    throw new UsageError(
      `There is no command '${textOf(name as ByteString)}': ply --help lists them`,
    );
  failureStatus = entry.failureStatus;
  const definition = await entry.load();
  const command = subcommand(entry.name, entry.summary);
  definition.declare(command);
  if (entry.raw !== true) command.parse(rest, { from: 'user' });
  const { sys } = await import('../sys/index.js');
  check(sys.endUnlessHandled(STUCK), 'watching for signals');
  acknowledge = () => sys.signalHandled();
  const context = new ProgramContext(
    joined(globals, command.opts()),
    aborter.signal,
    releaseSignals,
  );
  try {
    await definition.run(
      entry.raw === true ? rest : (command.args as typeof rest),
      command.opts(),
      context,
    );
    return context.status;
  } catch (error) {
    if (signalled === undefined && !(error instanceof OutputClosed) && name !== 'fsck')
      context.tellSkipped();
    throw error;
  } finally {
    context.close();
  }
}

/** Where failures of the command are told from what a program ends with that it runs. */
let failureStatus: number | undefined;

async function shown(text: string): Promise<number> {
  await print(text);
  return 0;
}

/** What stands after the command counts more; an option that may be repeated is one list. */
function joined(before: GlobalOptions, after: GlobalOptions): GlobalOptions {
  const storageOpt = [...(before.storageOpt ?? []), ...(after.storageOpt ?? [])];
  return { ...before, ...after, ...(storageOpt.length > 0 && { storageOpt }) };
}

function help(): string {
  const listing = bareCommand('ply')
    .usage('[OPTIONS] COMMAND')
    .option('-V, --version', 'print the version');
  for (const option of globalOptions()) listing.addOption(option);
  for (const { name, summary, group } of commands) {
    if (group !== 'Hidden') listing.command(name).summary(summary).helpGroup(`${group}:`);
  }
  return `${listing.helpInformation()}\nply COMMAND --help tells more. To mount a union of directories, see plyfs --help.\n`;
}

/** What the process ends with. */
async function status(): Promise<number> {
  try {
    const ended = await main();
    return signalled ?? ended;
  } catch (error) {
    if (error instanceof HelpAsked) {
      await print(error.text);
      return 0;
    }
    if (signalled !== undefined) return signalled;
    if (error instanceof OutputClosed) return OUTPUT_CLOSED_STATUS;
    say(reportLine('ply', error));
    return exitStatusOf(error, failureStatus);
  }
}

const ended = await status();
if (signalled === undefined) process.exit(ended);
const { sys } = await import('../sys/index.js');
sys.exitNow(ended);
