/** Mounts that a test makes: where they are, who serves them, and that none outlives the test. */
import { readFileSync, readdirSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { readMountTable } from '../../src/host/mount-table.js';
import { run } from './command.js';

export { mountAt } from '../../src/host/mount-table.js';

/**
 * The processes one of whose arguments is `argument` and that run Node: the daemon of the mount at
 * that path.
 */
export function daemonsOf(argument: string): number[] {
  const found: number[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const words = readFileSync(`/proc/${entry}/cmdline`, 'latin1').split('\0');
      if (words[1]?.endsWith('/plyfs.js') && words.includes(argument)) found.push(Number(entry));
    } catch {
      // It has ended.
    }
  }
  return found;
}

/** Unmounts everything at and below `directory`, the innermost first, busy or not. */
export async function unmountAll(directory: string): Promise<void> {
  for (const { mountpoint } of readMountTable().reverse()) {
    if (mountpoint !== directory && !mountpoint.startsWith(`${directory}/`)) continue;
    const path = Buffer.from(mountpoint, 'latin1').toString('utf8');
    if ((await run(['umount', '-l', path])).status !== 0)
      await run(['fusermount3', '-u', '-z', path]);
  }
}

/**
 * An empty directory, its path without symbolic links. After the test what is mounted in it is
 * unmounted, and it is removed.
 */
export async function temporaryDirectory(t: Test): Promise<string> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'plyfs-test-')));
  t.teardown(async () => {
    await unmountAll(directory);
    await rm(directory, { recursive: true, force: true });
  });
  return directory;
}
