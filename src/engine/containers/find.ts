/**
 * Which container a word means: by its name, by the name that dockerd gave it, by the beginning of
 * its id.
 */
import { PlyfsError } from '../../base/error.js';
import type { MountedLayer } from '../../layer/mounted-layer.js';
import { containerOf, dockerRecordOf, type Container } from './container.js';
import type { DataRoot } from '../data-root.js';

/** Throws `container-missing`, `container-ambiguous`, `record-damaged`. */
export function findContainer(root: DataRoot, word: string): Container {
  return containerOf(root, findMounted(root, word));
}

/**
 * The container's layer, also where its record is damaged. Throws `container-missing`,
 * `container-ambiguous`.
 */
export function findMounted(root: DataRoot, word: string): MountedLayer {
  const mounted = tryFindMounted(root, word);
  if (mounted !== undefined) return mounted;
  throw new PlyfsError(
    'container-missing',
    `${root.root} has no container '${word}': \`ply ps\` lists those that there are.`,
  );
}

/** Throws `container-ambiguous`. */
export function tryFindMounted(root: DataRoot, word: string): MountedLayer | undefined {
  const named = mountedNamed(root, word);
  if (named !== undefined) return named;
  if (!/^[0-9a-f]{1,64}$/.test(word)) return undefined;
  const [first, ...others] = root.layers
    .mountedLayers()
    .filter(
      ({ name, mountId }) =>
        mountId.startsWith(word) || (isDockerId(name) && name.startsWith(word)),
    );
  if (others.length > 0)
    throw new PlyfsError(
      'container-ambiguous',
      `'${word}' begins the ids of ${others.length + 1} containers: write more of it.`,
    );
  return first;
}

/** By one of its names only. */
export function mountedNamed(root: DataRoot, name: string): MountedLayer | undefined {
  return (
    root.layers.mounted(name) ??
    root.layers.mountedLayers().find((mounted) => dockerNameOf(root, mounted.name) === name)
  );
}

function dockerNameOf(root: DataRoot, name: string): string | undefined {
  return isDockerId(name) ? dockerRecordOf(root, name)?.name : undefined;
}

function isDockerId(name: string): boolean {
  return /^[0-9a-f]{64}$/.test(name);
}
