/** Runs the program plyfs as a user would: bin/plyfs of this checkout. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { run, type Outcome } from './command.js';
import { temporaryDirectory } from './mounts.js';
import { root } from './root.js';

export const plyfsProgram = join(root, 'bin/plyfs');

export function plyfs(...words: string[]): Promise<Outcome> {
  return run([plyfsProgram, ...words]);
}

export interface Layers {
  readonly directory: string;
  readonly top: string;
  readonly bottom: string;
  readonly upper: string;
  readonly work: string;
  readonly mountpoint: string;
  /** `lowerdir=...,upperdir=...,workdir=...` */
  readonly options: string;
}

/**
 * Two small layers and what else a mount needs, in a directory that goes with the test, mounts
 * included.
 */
export async function layers(t: Test): Promise<Layers> {
  const directory = await temporaryDirectory(t);
  const [top, bottom, upper, work, mountpoint] = ['top', 'bottom', 'upper', 'work', 'mnt'].map(
    (name) => join(directory, name),
  ) as [string, string, string, string, string];
  for (const path of [top, bottom, upper, work, mountpoint]) mkdirSync(path);
  writeFileSync(join(bottom, 'both'), 'bottom\n');
  writeFileSync(join(bottom, 'low'), 'low\n');
  writeFileSync(join(top, 'both'), 'top\n');
  return {
    directory,
    top,
    bottom,
    upper,
    work,
    mountpoint,
    options: `lowerdir=${top}:${bottom},upperdir=${upper},workdir=${work}`,
  };
}

/** Starts plyfs in the foreground and resolves when the mount answers. */
export async function foreground(
  t: Test,
  mountpoint: string,
  words: readonly string[],
): Promise<ChildProcess> {
  const child = spawn(plyfsProgram, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => {
    child.kill('SIGKILL');
  });
  // Looks at the mount point, and so waits for an answer once the mount is there.
  while ((await run(['mountpoint', '-q', mountpoint])).status !== 0) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error('plyfs ended before it mounted');
  }
  return child;
}
