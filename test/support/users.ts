/** Acting as an ordinary user, in a test that runs as root. */
import { chmodSync, statSync } from 'node:fs';
import type { Test } from 'tap';

/** The user `nobody` of every distribution. */
export const NOBODY = 65534;

export const isRoot = process.getuid?.() === 0;

/** The words that, before a command, have it run by `nobody`. */
export const asNobody: readonly string[] = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];

/** Lets every user open /dev/fuse, as most distributions do, until the test ends. */
export function openFuseDevice(t: Test): void {
  const mode = statSync('/dev/fuse').mode & 0o7777;
  if ((mode & 0o006) === 0o006) return;
  chmodSync('/dev/fuse', 0o666);
  t.teardown(() => chmodSync('/dev/fuse', mode));
}
