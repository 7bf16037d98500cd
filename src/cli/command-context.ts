/** What a running command of ply is given, made from the global options. */
import { textOf } from '../base/bytes.js';
import type { DataRoot, DataRootOptions } from '../engine/data-root.js';
import type { CommandContext, GlobalOptions } from './command.js';
import { print, say, shown } from './output.js';
import { pathText } from './path-text.js';
import { progressOn, silent, type Progress } from './progress.js';
import { reportLine } from './report.js';

/** About what cannot be used. */
const SENTENCES = 3;

export class ProgramContext implements CommandContext {
  readonly globals: GlobalOptions;
  readonly signal: AbortSignal;
  /** After the last bar. */
  readonly print = (text: string): Promise<void> => {
    this.#endProgress();
    return print(text);
  };
  readonly shown = shown;
  readonly printJson = (value: unknown): Promise<void> =>
    this.print(`${JSON.stringify(value, null, 2)}\n`);
  readonly #openRoots: DataRoot[] = [];
  #progress: Progress = silent;

  readonly releaseSignals: () => void;
  /** As the command says. */
  status = 0;

  constructor(globals: GlobalOptions, signal: AbortSignal, releaseSignals: () => void) {
    this.globals = globals;
    this.signal = signal;
    this.releaseSignals = releaseSignals;
  }

  readonly exitWith = (status: number): void => {
    this.status = status;
  };

  readonly openRoot = (write: boolean): Promise<DataRoot> => this.#open({ write });
  readonly openRootToFree = (): Promise<DataRoot> => this.#open({ write: true, freeing: true });

  readonly progress = async (quiet: boolean, doing: string): Promise<Progress> => {
    if (!quiet) this.#progress = await progressOn(process.stderr, doing);
    return this.#progress;
  };

  readonly warn = (sentence: string): void => {
    say(reportLine('ply', sentence));
  };

  /** After a failure: what of the roots cannot be used may be what was looked for. */
  tellSkipped(): void {
    this.#endProgress();
    const sentences = this.#openRoots.flatMap((root) => root.skipped());
    for (const sentence of sentences.slice(0, SENTENCES)) this.warn(sentence);
    if (sentences.length > SENTENCES)
      this.warn(`${sentences.length - SENTENCES} more cannot be used: \`ply fsck\` names them.`);
  }

  /** After the command, however it ended. */
  close(): void {
    this.#endProgress();
    for (const root of this.#openRoots) root.close();
  }

  async #open(access: Pick<DataRootOptions, 'write' | 'freeing'>): Promise<DataRoot> {
    const { openDataRoot } = await import('../engine/data-root.js');
    const { root, storageDriver, storageOpt = [], mounter, writable } = this.globals;
    const opened = await openDataRoot({
      ...access,
      writable: writable ?? false,
      storageOptions: storageOpt.map((option) => pathText(option, 'the storage option')),
      ...(root === undefined ? {} : { root: pathText(root, 'the data root') }),
      ...(storageDriver === undefined ? {} : { storageDriver: textOf(storageDriver) }),
      ...(mounter === undefined ? {} : { mounter }),
    });
    this.#openRoots.push(opened);
    return opened;
  }

  #endProgress(): void {
    this.#progress.end();
    this.#progress = silent;
  }
}
