/** `ply tree`: the layers of an image, how large each is, and how much of it those above hide. */
import { textOf } from '../../base/bytes.js';
import { Errno } from '../../base/errno.js';
import { PlyfsError } from '../../base/error.js';
import { treeSize } from '../../archive/layer-size.js';
import { lookingAt } from '../../union/layers-at-rest.js';
import { shownBytes } from '../../union/shown-bytes.js';
import type { DataRoot } from '../data-root.js';
import { ancestry } from '../../layer/layer.js';
import { findObject } from '../find-object.js';
import { stackOfObject } from '../mounts/layer-stack.js';
import { topOf } from './layers.js';
import { layerName } from '../../mount/layer-name.js';

export interface TreeLayer {
  readonly layer: number;
  /** `upper`, `layer 1`. */
  readonly name: string;
  readonly chainId?: string;
  readonly createdBy?: string;
  readonly directory: string;
  /** Bytes of its files. */
  readonly size: number;
  /**
   * Bytes of these that the layers above shadow or delete. Absent where every layer holds all that
   * is below it.
   */
  readonly waste?: number;
}

/**
 * Topmost first. `word`: an image, a ChainID or a read-write layer. Throws what `findObject`
 * throws, and `path-unreadable`.
 */
export function layerTree(root: DataRoot, word: string): TreeLayer[] {
  const found = findObject(root, word, ['image', 'layer', 'mount']);
  const { layers, complete } = stackOfObject(root, found);
  if (layers.length === 0) return [];
  if (complete) {
    return [...ancestry(topOf(root, found))].map((layer, i) => ({
      layer: i + 1,
      name: layerName(i + 1),
      chainId: layer.chainId,
      directory: root.driver.directories(layer.cacheId).own,
      size: layer.size,
    }));
  }
  let shown: number[];
  try {
    shown = lookingAt(layers, shownBytes);
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    throw new PlyfsError(
      'path-unreadable',
      `The layers of ${word} cannot be looked at (${error.message}): try it as root.`,
      {
        cause: error,
      },
    );
  }
  return layers.map(({ index, directory, path, chainId, createdBy }) => {
    const size = treeSize(textOf(path));
    return {
      layer: index,
      name: layerName(index),
      ...(chainId !== undefined && { chainId }),
      ...(createdBy !== undefined && { createdBy }),
      directory,
      size,
      waste: size - shown[index]!,
    };
  });
}
