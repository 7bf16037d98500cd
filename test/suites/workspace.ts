/**
 * A directory for layers and mounts that every user may pass through, and that any depth or mode
 * can be removed from.
 */
import { chmod, mkdir } from 'node:fs/promises';
import type { Test } from 'tap';
import { succeed } from '../support/command.js';
import { temporaryDirectory, unmountAll } from '../support/mounts.js';

/**
 * Absolute, mode 0755, named directories made in it. After the test everything is unmounted and
 * removed.
 */
export async function workspace(t: Test, ...names: readonly string[]): Promise<string> {
  const directory = await temporaryDirectory(t);
  await chmod(directory, 0o755);
  for (const name of names) await mkdir(`${directory}/${name}`, { recursive: true });
  t.teardown(async () => {
    await unmountAll(directory);
    // rm(1) walks with descriptors: paths longer than PATH_MAX do not stop it.
    await succeed(['chmod', '-R', 'u+rwX', directory]).catch(() => undefined);
    await succeed(['rm', '-rf', directory]);
  });
  return directory;
}
