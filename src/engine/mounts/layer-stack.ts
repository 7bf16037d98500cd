/**
 * The layers that a name or a mount means, as `ply explain`, `ply tree` and `ply trace` speak of
 * them.
 */
import { bytesOf } from '../../base/bytes.js';
import type { ChainId } from '../../base/digest.js';
import { historyOf } from '../../image/history.js';
import { ancestry, type Layer } from '../../layer/layer.js';
import type { LayerAtRest } from '../../union/layers-at-rest.js';
import type { DataRoot } from '../data-root.js';
import { topOf } from '../images/layers.js';
import type { FoundObject } from '../find-object.js';

export interface StackLayer extends LayerAtRest {
  /** As people know it; `path` may be another way there. */
  readonly directory: string;
  /** Of an image's layer in the data root. */
  readonly chainId?: ChainId;
  /** Bytes, as the data root has it. */
  readonly size?: number;
  /** The step of an image's history that made it. */
  readonly createdBy?: string;
}

export interface Stack {
  /** Topmost first. */
  readonly layers: readonly StackLayer[];
  /** Each layer holds what is below it, too (the storage driver vfs): only the first one counts. */
  readonly complete: boolean;
}

/** Nobody's step: Docker puts it between an image and a container. */
const INIT_LAYER = "(the init layer: a runtime's mount points)";

/**
 * Of an image, a layer, or a read-write layer, whether or not it is mounted. Empty where there are
 * no layers.
 */
export function stackOfObject(root: DataRoot, found: FoundObject): Stack {
  const mounted = found.kind === 'mount' ? found.mounted : undefined;
  const top = topOf(root, found);
  const directories =
    mounted?.directories() ??
    (top === undefined ? undefined : root.driver.directories(top.cacheId));
  if (directories === undefined) return { layers: [], complete: false };
  const { own, below, form } = directories;
  const first = mounted === undefined ? 1 : 0;
  const layers = [own, ...below].map((directory, i): StackLayer => ({
    index: first + i,
    path: bytesOf(directory),
    directory,
    ...(form !== 'none' && { form }),
  }));
  return { layers: knownBy(root, layers), complete: form === 'none' };
}

/** With what the data root knows of layers that lie in it. */
export function knownBy(root: DataRoot, layers: readonly StackLayer[]): StackLayer[] {
  const stored = new Map<string, Layer>(
    root.layers.layers().map((layer) => [layer.cacheId, layer]),
  );
  const known = layers.map((layer) => {
    // Every driver has the id in the directory's path.
    const words = layer.directory.startsWith(`${root.driver.home}/`)
      ? layer.directory.split('/')
      : [];
    return {
      layer,
      stored: words.map((word) => stored.get(word)).find((each) => each !== undefined),
    };
  });
  const steps = stepsOf(
    root,
    new Set(known.flatMap((each) => (each.stored === undefined ? [] : [each.stored.chainId]))),
  );
  return known.map(({ layer, stored: its }) => {
    if (its === undefined)
      return /\/[0-9a-f]{64}-init\//.test(layer.directory)
        ? { ...layer, createdBy: INIT_LAYER }
        : layer;
    const createdBy = steps.get(its.chainId);
    // An imported layer's step says nothing.
    return {
      ...layer,
      chainId: its.chainId,
      size: its.size,
      ...(createdBy !== undefined && createdBy !== '' && { createdBy }),
    };
  });
}

/** By the histories of the images that have them. */
function stepsOf(root: DataRoot, wanted: ReadonlySet<ChainId>): Map<ChainId, string> {
  const steps = new Map<ChainId, string>();
  for (const image of root.images.list()) {
    if (steps.size === wanted.size) break;
    const top = image.chainId === undefined ? undefined : root.layers.get(image.chainId);
    if (![...ancestry(top)].some(({ chainId }) => wanted.has(chainId) && !steps.has(chainId)))
      continue;
    for (const { chainId, createdBy } of historyOf(image, root)) {
      if (chainId !== undefined && wanted.has(chainId)) steps.set(chainId, createdBy);
    }
  }
  return steps;
}
