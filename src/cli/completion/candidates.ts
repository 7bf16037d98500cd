/** What may stand for the last word of a command line that is being typed. */
import type { Argument, Command, Option } from 'commander';
import type { ByteString } from '../../base/bytes.js';
import type { CommandEntry } from '../command.js';
import { globalOptions, subcommand } from '../ply-command-line.js';

export interface Candidates {
  readonly values: readonly Candidate[];
  /** What the shell itself knows and fits, too. */
  readonly more: 'words' | 'files' | 'directories';
}

export interface Candidate {
  readonly value: string;
  readonly description?: string;
}

/** Names of what is in the data root that the global options name. */
export interface Names {
  images(globals: GlobalValues): Promise<readonly string[]>;
  mounted(globals: GlobalValues): Promise<readonly string[]>;
}

/** Of `--root` and the like, as far as they were typed. */
export type GlobalValues = Readonly<Record<string, string>>;

const none: Candidates = { values: [], more: 'words' };

/** `words`: those after `ply`; the last one, which may be empty, is being typed. */
export async function candidatesFor(
  words: readonly ByteString[],
  commands: readonly CommandEntry[],
  names: Names,
): Promise<Candidates> {
  const before = words.slice(0, -1);
  const current: string = words.at(-1) ?? '';
  const own = readWords(before, globalOptions(), true);
  if (own.operands.length === 0)
    return complete(current, own, {
      options: globalOptions(),
      names,
      operand: () => commandNames(commands),
    });

  const entry = commands.find(({ name }) => name === own.operands[0]);
  if (entry === undefined) return none;
  const command = subcommand(entry.name, entry.summary);
  (await entry.load()).declare(command);
  const read = readWords(own.rest, command.options, false);
  const globals = { ...own.values, ...read.values };
  return complete(
    current,
    { ...read, values: globals },
    {
      options: command.options,
      names,
      operand: () => operandCandidates(command, read.operands.length, globals, names),
    },
  );
}

interface ReadWords {
  readonly operands: readonly string[];
  /** What follows the first operand. */
  readonly rest: readonly string[];
  /** By the option's attribute name. */
  readonly values: Readonly<Record<string, string>>;
  /** The option whose value is to come. */
  readonly awaiting?: Option;
  /** `--` was there. */
  readonly onlyOperands: boolean;
}

/**
 * What the words before the one being typed have been. `firstOperandEnds`: the rest belongs to a
 * command.
 */
function readWords(
  words: readonly string[],
  options: readonly Option[],
  firstOperandEnds: boolean,
): ReadWords {
  const operands: string[] = [];
  const values: Record<string, string> = {};
  let awaiting: Option | undefined;
  let onlyOperands = false;
  for (const [i, word] of words.entries()) {
    if (awaiting !== undefined) {
      values[awaiting.attributeName()] = word;
      awaiting = undefined;
    } else if (onlyOperands || !/^-./.test(word)) {
      operands.push(word);
      if (firstOperandEnds) return { operands, rest: words.slice(i + 1), values, onlyOperands };
    } else if (word === '--') onlyOperands = true;
    else {
      const [flag, value] = word.startsWith('--') ? word.split(/=([^]*)/, 2) : [`-${word.at(-1)!}`];
      const option = options.find(({ long, short }) => flag === long || flag === short);
      if (option === undefined || !takesValue(option)) continue;
      if (value === undefined) awaiting = option;
      else values[option.attributeName()] = value;
    }
  }
  return {
    operands,
    rest: [],
    values,
    onlyOperands,
    ...(awaiting === undefined ? {} : { awaiting }),
  };
}

interface Possible {
  readonly options: readonly Option[];
  readonly names: Names;
  readonly operand: () => Promise<Candidates> | Candidates;
}

async function complete(
  current: string,
  read: ReadWords,
  { options, names, operand }: Possible,
): Promise<Candidates> {
  if (read.awaiting !== undefined)
    return fitting(await valueCandidates(read.awaiting, read.values, names), current);
  if (read.onlyOperands || !current.startsWith('-')) return fitting(await operand(), current);
  const [flag, value] = current.split(/=([^]*)/, 2);
  if (value !== undefined) {
    const option = options.find(({ long }) => long === flag);
    if (option === undefined) return none;
    const { values, more } = fitting(await valueCandidates(option, read.values, names), value);
    return {
      values: values.map((candidate) => ({ ...candidate, value: `${flag!}=${candidate.value}` })),
      more,
    };
  }
  const flags = options.map(({ long, short, description }) => ({
    value: long ?? short ?? '',
    description,
  }));
  return fitting(
    { values: [...flags, { value: '--help', description: 'print this' }], more: 'words' },
    current,
  );
}

function fitting({ values, more }: Candidates, start: string): Candidates {
  return { values: values.filter(({ value }) => value.startsWith(start)), more };
}

function commandNames(commands: readonly CommandEntry[]): Candidates {
  return {
    values: commands
      .filter(({ group }) => group !== 'Hidden')
      .map(({ name, summary }) => ({ value: name, description: summary })),
    more: 'words',
  };
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function valueCandidates(option: Option, globals: GlobalValues, names: Names): Promise<Candidates> {
  const name = /[<[]([^>\]]*)/.exec(option.flags)?.[1] ?? '';
  return named(name, option.argChoices, globals, names);
}

async function operandCandidates(
  command: Command,
  position: number,
  globals: GlobalValues,
  names: Names,
): Promise<Candidates> {
  const last = command.registeredArguments.at(-1);
  const argument: Argument | undefined =
    command.registeredArguments[position] ?? (last?.variadic === true ? last : undefined);
  return argument === undefined
    ? none
    : named(argument.name(), argument.argChoices, globals, names);
}

/** By what the argument is called in the help: `IMAGE|CHAINID`, `DIR|NAME`. */
async function named(
  name: string,
  choices: readonly string[] | undefined,
  globals: GlobalValues,
  names: Names,
): Promise<Candidates> {
  if (choices !== undefined) return { values: choices.map((value) => ({ value })), more: 'words' };
  const kinds = name.split(/[^A-Z]+/);
  const values: Candidate[] = [];
  if (kinds.includes('IMAGE'))
    values.push(...(await names.images(globals)).map((value) => ({ value })));
  // A path in it is to follow.
  const after = name.includes('NAME:') ? ':' : '';
  if (kinds.includes('NAME'))
    values.push(...(await names.mounted(globals)).map((value) => ({ value: value + after })));
  return {
    values,
    more:
      kinds.includes('FILE') || kinds.includes('PATH')
        ? 'files'
        : kinds.includes('DIR')
          ? 'directories'
          : 'words',
  };
}
