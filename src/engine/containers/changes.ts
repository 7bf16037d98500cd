/** `ply diff`, `ply reset` and `ply rename`. */
import { PlyfsError } from '../../base/error.js';
import type { Change } from '../../archive/changes.js';
import { dockerRecordOf } from './container.js';
import { assertFree } from './create.js';
import type { DataRoot } from '../data-root.js';
import { findMounted } from './find.js';

export type { Change };

/**
 * Sorted by path in byte order. Throws `container-missing`, `container-ambiguous`, and what reading
 * the layer throws.
 */
export async function containerChanges(root: DataRoot, word: string): Promise<Change[]> {
  return root.layers.changes(findMounted(root, word).name);
}

/** Returns its name. Throws `container-missing`, `container-ambiguous`, `layer-in-use`. */
export async function resetContainer(root: DataRoot, word: string): Promise<string> {
  const { name } = findMounted(root, word);
  await root.layers.resetMounted(name);
  return name;
}

/**
 * Throws `container-missing`, `container-ambiguous`, `container-of-docker`, `mount-exists`,
 * `mount-name-invalid`.
 */
export function renameContainer(
  root: DataRoot,
  word: string,
  newName: string,
): { name: string; formerName: string } {
  const { name } = findMounted(root, word);
  assertNotOfDocker(root, name, 'renamed');
  assertFree(root, newName);
  root.layers.renameMounted(name, newName);
  return { name: newName, formerName: name };
}

/**
 * dockerd knows its containers by the names of their layers' directories, and by files that this
 * program does not write.
 */
export function assertNotOfDocker(root: DataRoot, name: string, done: string): void {
  if (dockerRecordOf(root, name) === undefined) return;
  throw new PlyfsError(
    'container-of-docker',
    `'${name}' is a container of dockerd's, and would be half there for it: it is to be ${done} by docker.`,
  );
}
