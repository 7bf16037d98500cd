/** `ply rm`: a read-write layer goes, with all that was changed in it. */
import { bytesOf } from '../base/bytes.js';
import type { ChainId } from '../base/digest.js';
import type { DataRoot } from './data-root.js';
import { unmount } from './unmount.js';

/** `force`: also when it is mounted. Throws `mount-missing`, `layer-in-use`. */
export async function removeMounted(
  root: DataRoot,
  name: string,
  { force }: { force: boolean },
): Promise<{ name: string; layers: ChainId[] }> {
  const isShown = (await root.layers.shown()).some((layer) => layer.name === name);
  if (force && isShown) await unmount(bytesOf(name), { lazy: false }, async () => root);
  const layers = await root.layers.releaseMounted(name);
  return { name, layers: layers.map(({ chainId }) => chainId) };
}
