import { fileURLToPath } from 'node:url';
import { run, succeed } from '../support/command.js';
import type { Action } from './store-program.js';

const program = fileURLToPath(new URL('store-program.js', import.meta.url));

export interface Performed {
  readonly result: unknown;
  /** How many steps the store took. */
  readonly steps: number;
}

/** In a process of its own, which ends before this returns. Throws when it fails. */
export async function inProcess(root: string, action: Action): Promise<Performed> {
  return JSON.parse(
    await succeed([process.execPath, program, root, JSON.stringify(action)]),
  ) as Performed;
}

/** The same, killed after `killAt` steps. False when it ended before that. */
export async function killedInProcess(
  root: string,
  action: Action,
  killAt: number,
): Promise<boolean> {
  const { signal, status, stderr } = await run([
    process.execPath,
    program,
    root,
    JSON.stringify({ ...action, killAt }),
  ]);
  if (signal !== 'SIGKILL' && status !== 0) throw new Error(stderr);
  return signal === 'SIGKILL';
}
