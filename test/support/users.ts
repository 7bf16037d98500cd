/** Acting as an ordinary user, in a test that runs as root. */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { root } from './root.js';

/** The user `nobody` of every distribution. */
export const NOBODY = 65534;

export const isRoot = process.getuid?.() === 0;

/** The words that, before a command, have it run by `nobody`. */
export const asNobody: readonly string[] = [
  'setpriv',
  `--reuid=${NOBODY}`,
  `--regid=${NOBODY}`,
  '--clear-groups',
];

/**
 * Lets every user open /dev/fuse, as most distributions do, until the test ends. For a file that is
 * run alone: scripts/run-tests does it for all it runs.
 */
export function openFuseDevice(t: Test): void {
  const mode = statSync('/dev/fuse').mode & 0o7777;
  if ((mode & 0o006) === 0o006) return;
  chmodSync('/dev/fuse', 0o666);
  t.teardown(() => chmodSync('/dev/fuse', mode));
}

/**
 * What runs of this checkout, copied into `directory`: the checkout may be where only root looks.
 * Returns where it is.
 */
export function copyProgram(directory: string): string {
  const program = join(directory, 'program');
  mkdirSync(program);
  const packages = execFileSync('npm', ['ls', '--omit=dev', '--all', '--parseable'], {
    cwd: root,
    encoding: 'utf8',
  })
    .split('\n')
    .filter((path) => path.startsWith(`${root}/`))
    .map((path) => path.slice(root.length + 1));
  for (const part of [
    'bin',
    'dist/src',
    'build/Release/plyfs.node',
    'build/Release/container-init',
    'package.json',
    ...packages,
  ]) {
    cpSync(join(root, part), join(program, part), { recursive: true });
  }
  return program;
}
