/** What a command of ply is, and what it is given. */
import type { Command } from 'commander';
import type { ByteString } from '../base/bytes.js';
import type { DataRoot } from '../engine/data-root.js';
import type { Progress } from './progress.js';

/** Understood before the command's name and after it. */
export interface GlobalOptions {
  readonly root?: ByteString;
  readonly storageDriver?: ByteString;
  readonly storageOpt?: readonly ByteString[];
  readonly mounter?: 'fuse' | 'kernel';
  readonly json?: true;
  readonly writable?: true;
}

export interface CommandContext {
  readonly globals: GlobalOptions;
  /** Aborted by SIGINT, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
  /** The data root; closed when the command has ended. `write`: the command changes it. */
  readonly openRoot: (write: boolean) => Promise<DataRoot>;
  /**
   * The same for a command that changes the root by taking things away: it works on a full disk
   * too.
   */
  readonly openRootToFree: () => Promise<DataRoot>;
  /** Where long work says how far it is, and nowhere when `quiet`. `doing`: `Loading`. */
  readonly progress: (quiet: boolean, doing: string) => Promise<Progress>;
  readonly print: (text: string) => Promise<void>;
  /** A name, or other text of a stranger's, within a line that is printed. */
  readonly shown: (text: string) => string;
  /** One JSON document. */
  readonly printJson: (value: unknown) => Promise<void>;
  /** What ply ends with when the command has ended well. */
  readonly exitWith: (status: number) => void;
  /** Signals are the command's own from now on, and `signal` is not aborted any more. */
  readonly releaseSignals: () => void;
  /** One sentence about what stops nothing. */
  readonly warn: (sentence: string) => void;
}

/** `O`: what commander makes of the options that `declare` adds. */
export interface CommandDefinition<O extends object> {
  /**
   * Adds options and arguments. The names of arguments and of options' values tell the shell's
   * completion what to offer (completion.ts): IMAGE, NAME, FILE, PATH, DIR.
   */
  declare(command: Command): void;
  /** `words` are the arguments, as bytes. Throws PlyfsError. */
  run(words: readonly ByteString[], options: O, context: CommandContext): Promise<void>;
}

export function defineCommand<O extends object>(
  definition: CommandDefinition<O>,
): CommandDefinition<object> {
  return definition;
}

/** A row of the table of commands (commands/index.ts). */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly group:
    'Images' | 'Registries' | 'Containers' | 'Mounts' | 'Data root' | 'Program' | 'Hidden';
  /** Its words are another command's: they are not parsed. */
  readonly raw?: true;
  /** What ply ends with when the command fails, where that would be taken for something else. */
  readonly failureStatus?: number;
  load(): Promise<CommandDefinition<object>>;
}
