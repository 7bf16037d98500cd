/** `ply rm`: a container goes, with all that was changed in it. */
import type { ChainId } from '../../base/digest.js';
import { assertNotOfDocker } from './changes.js';
import type { DataRoot } from '../data-root.js';
import { findMounted } from './find.js';
import { unmountNamed } from '../mounts/unmount.js';

/**
 * `force`: also when it is mounted. Throws `container-missing`, `container-ambiguous`,
 * `container-of-docker`, `layer-in-use`, `mount-busy`.
 */
export async function removeMounted(
  root: DataRoot,
  word: string,
  { force }: { force: boolean },
): Promise<{ name: string; layers: ChainId[] }> {
  const { name } = findMounted(root, word);
  assertNotOfDocker(root, name, 'removed');
  const isShown = (await root.layers.shown()).some((layer) => layer.name === name);
  if (force && isShown) await unmountNamed(root, name, { lazy: false });
  const layers = await root.layers.releaseMounted(name);
  return { name, layers: layers.map(({ chainId }) => chainId) };
}
