/**
 * `ply create`: a read-write layer on an image, with an init layer between them, and how a program
 * is to be run on it.
 */
import type { Image } from '../../image/image-store.js';
import {
  containerOf,
  newRecord,
  nameOfImage,
  type ConfigOverrides,
  type Container,
} from './container.js';
import type { DataRoot } from '../data-root.js';
import { mountedNamed } from './find.js';
import { findObject } from '../find-object.js';
import { topOf } from '../images/layers.js';
import { randomName } from './random-name.js';
import { PlyfsError } from '../../base/error.js';

export interface CreateContainerOptions extends ConfigOverrides {
  /** Default: a random one. */
  readonly name?: string;
  /** Most bytes that can be written, where the driver can keep that. */
  readonly size?: number;
}

/**
 * `word`: an image or a ChainID. Of what failed nothing is left. Throws `object-missing`,
 * `image-ambiguous`, `mount-exists` for a name that is taken, `mount-name-invalid`, and what the
 * layer store throws.
 */
export async function createContainer(
  root: DataRoot,
  word: string,
  options: CreateContainerOptions = {},
): Promise<Container> {
  const { name, size, ...overrides } = options;
  const found = findObject(root, word, ['image', 'layer']);
  const image: Image | undefined = found.kind === 'image' ? found.image : undefined;
  const top = topOf(root, found);
  if (name !== undefined) assertFree(root, name);
  const chosen = name ?? randomName((candidate) => mountedNamed(root, candidate) !== undefined);
  const record = newRecord(image, image && calledBy(root, image, word), overrides, new Date());
  const mounted = await root.layers.createMounted(chosen, top?.chainId, {
    record,
    ...(size !== undefined && { size }),
  });
  return containerOf(root, mounted);
}

/**
 * The name that dockerd gave to one of its containers is taken as well. The layer store looks for
 * itself at those that it knows.
 */
export function assertFree(root: DataRoot, name: string): void {
  if (mountedNamed(root, name) !== undefined)
    throw new PlyfsError(
      'mount-exists',
      `There is a container '${name}' in ${root.root} already: remove it, or take another name.`,
    );
}

/** The word, unless that is an id of the image's. */
function calledBy(root: DataRoot, image: Image, word: string): string {
  return image.id.includes(word) ? nameOfImage(root, image.id) : word;
}
