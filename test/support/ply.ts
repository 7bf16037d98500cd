/** Runs the program ply as a user would: bin/ply of this checkout. */
import { join } from 'node:path';
import { textOf, type ByteString } from '../../src/base/bytes.js';
import { run, succeed, type Outcome } from './command.js';
import { root } from './root.js';

export const plyProgram = join(root, 'bin/ply');

export function ply(...words: string[]): Promise<Outcome> {
  return run([plyProgram, ...words]);
}

export interface Ply {
  /** What it prints, without the space around it; throws unless it succeeds. */
  (...words: string[]): Promise<string>;
  /** However it ends. */
  readonly outcome: (...words: string[]) => Promise<Outcome>;
  /** What it prints with --json. */
  readonly json: (...words: string[]) => Promise<unknown>;
}

const text = (output: string): string => textOf(output as ByteString);

/** ply on a data root. `globals`: further global options. */
export function plyOn(dataRoot: string, ...globals: string[]): Ply {
  const argv = [plyProgram, '--root', dataRoot, ...globals];
  const called = async (...words: string[]): Promise<string> =>
    text(await succeed([...argv, ...words])).trim();
  return Object.assign(called, {
    outcome: (...words: string[]) => run([...argv, ...words]),
    json: async (...words: string[]) =>
      JSON.parse(text(await succeed([...argv, '--json', ...words]))) as unknown,
  });
}
