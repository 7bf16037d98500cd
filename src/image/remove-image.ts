/**
 * `docker rmi`: takes a name from an image, and the image with its last name (moby,
 * daemon/images/image_delete.go).
 *
 * A read-write layer stands for Docker's container: one that is shown somewhere for a running one,
 * which forbids removal, any other for a stopped one, which forbids it unless forced. Which image a
 * read-write layer was made from is not written down: it is all that have its parent.
 */
import type { ChainId, ImageId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import type { LayerStore } from '../layer/layer-store.js';
import { findImage, shortId } from './find-image.js';
import type { Image, ImageStore } from './image-store.js';
import type { ReferenceStore } from './reference-store.js';
import { canonicalName, familiarString, withDefaultTag, type Reference } from './reference.js';

/** What was done, in its order. */
export type Removed = { readonly untagged: Reference } | { readonly deleted: ImageId | ChainId };

export interface RemoveOptions {
  /** Also with several names, or read-write layers on it. */
  readonly force?: boolean;
  /** Also the images without a name that it was made from. Default: true. */
  readonly prune?: boolean;
}

type Stores = Readonly<{ images: ImageStore; references: ReferenceStore; layers: LayerStore }>;

/** Throws `image-conflict`, and what `findImage` throws. */
export async function removeImage(
  name: string,
  stores: Stores,
  options: RemoveOptions = {},
): Promise<Removed[]> {
  const { force = false, prune = true } = options;
  const { references } = stores;
  const { image, reference } = findImage(name, stores);
  const users = await usersOf(image, stores.layers);
  const own = references.of(image.id);
  const removed: Removed[] = [];
  const untag = (which: Reference): void => {
    if (references.delete(which)) removed.push({ untagged: which });
  };

  if (reference !== undefined) {
    const user = users.at(0);
    if (!force && isSingle(own) && user !== undefined) {
      throw new PlyfsError(
        'image-conflict',
        `Unable to remove the name ${familiarString(reference)} (must force): the read-write layer ${user.name} is on its image ${shortId(image.id)}.`,
      );
    }
    untag(
      reference.digest === undefined
        ? withDefaultTag(reference)
        : { domain: reference.domain, path: reference.path, digest: reference.digest },
    );
    // Digests alone do not keep a repository's images.
    const left = references.of(image.id);
    const here = left.filter((one) => canonicalName(one) === canonicalName(reference));
    if (reference.digest === undefined && here.every(({ digest }) => digest !== undefined))
      for (const digest of here) untag(digest);
    if (references.of(image.id).length > 0) return removed;
    await deleteImage(image, stores, { force, prune, quiet: true }, removed);
    return removed;
  }

  if (isSingle(own)) {
    const conflict = conflictOf(image, stores, users, { names: false, soft: !force });
    if (conflict !== undefined) throw conflict;
    for (const each of own) untag(each);
  }
  await deleteImage(image, stores, { force, prune, quiet: false }, removed);
  return removed;
}

interface DeleteOptions {
  readonly force: boolean;
  readonly prune: boolean;
  /** What forbids it is no error, but for an image that nobody could remove afterwards. */
  readonly quiet: boolean;
}

/** With `prune` those that it was made of go as well, as far as nothing else needs them. */
async function deleteImage(
  image: Image,
  stores: Stores,
  options: DeleteOptions,
  removed: Removed[],
): Promise<void> {
  let next = await deleteOne(image, stores, options, removed);
  while (options.prune && next !== undefined)
    next = await deleteOne(next, stores, { force: false, prune: true, quiet: true }, removed);
}

/** Returns its parent, once it is gone. */
async function deleteOne(
  image: Image,
  stores: Stores,
  { force, quiet }: DeleteOptions,
  removed: Removed[],
): Promise<Image | undefined> {
  const { images, references, layers } = stores;
  const users = await usersOf(image, layers);
  const conflict = conflictOf(image, stores, users, { names: !force, soft: !force });
  if (conflict !== undefined) {
    const dangling = references.of(image.id).length === 0 && images.children(image.id).length === 0;
    if (quiet && (!dangling || users.length > 0)) return undefined;
    throw conflict;
  }
  for (const reference of references.of(image.id))
    if (references.delete(reference)) removed.push({ untagged: reference });
  const deletedLayers = await images.delete(image.id);
  removed.push(
    { deleted: image.id },
    ...deletedLayers.map(({ chainId }) => ({ deleted: chainId })),
  );
  return image.parent === undefined ? undefined : images.get(image.parent);
}

interface User {
  readonly name: string;
  readonly shown: boolean;
}

/** Read-write layers on the image's topmost layer, and mounts of this itself. */
async function usersOf({ chainId }: Image, layers: LayerStore): Promise<User[]> {
  if (chainId === undefined) return [];
  const shown = (await layers.shown()).filter(({ alive }) => alive);
  const mounted = layers.mountedLayers().filter(({ parent }) => parent?.chainId === chainId);
  return [
    ...mounted.map(({ name }) => ({ name, shown: shown.some((one) => one.name === name) })),
    ...shown
      .filter((one) => one.chainId === chainId)
      .map(({ target }) => ({ name: target, shown: true })),
  ];
}

/** `names`: names forbid it, too; `soft`: so do read-write layers that are not shown. */
function conflictOf(
  image: Image,
  { images, references }: Stores,
  users: readonly User[],
  options: { names: boolean; soft: boolean },
): PlyfsError | undefined {
  const conflict = (why: string, forced: string): PlyfsError =>
    new PlyfsError(
      'image-conflict',
      `Unable to delete ${shortId(image.id)} (${forced} be forced): ${why}.`,
    );
  const children = images.children(image.id);
  if (children.length > 0)
    return conflict(
      `image has dependent child images (${children.map(({ id }) => shortId(id)).join(', ')})`,
      'cannot',
    );
  const running = users.find((user) => user.shown);
  if (running !== undefined)
    return conflict(`image is being used by the mount ${running.name}: unmount it first`, 'cannot');
  const names = references.of(image.id);
  if (options.names && names.length > 0)
    return conflict(
      `image is referenced by several names (${names.map(familiarString).join(', ')})`,
      'must',
    );
  const stopped = users.at(0);
  if (options.soft && stopped !== undefined)
    return conflict(`image is being used by the read-write layer ${stopped.name}`, 'must');
  return undefined;
}

/** All references are of one repository, and at most one of them is a tag. */
function isSingle(references: readonly Reference[]): boolean {
  const tags = references.filter(({ digest }) => digest === undefined);
  return (
    references.length > 0 && tags.length <= 1 && new Set(references.map(canonicalName)).size === 1
  );
}
