/**
 * `ply mount`: shows an image at a directory, to be read only or on a read-write layer of its own
 * that stays.
 */
import { realpathSync, statSync } from 'node:fs';
import { textOf, type ByteString } from '../../base/bytes.js';
import { PlyfsError, UsageError } from '../../base/error.js';
import { isUtf8 } from 'node:buffer';
import type { MountedBy, MountTrust } from '../../graphdriver/mounter.js';
import type { MountedLayer } from '../../layer/mounted-layer.js';
import type { DataRoot } from '../data-root.js';
import { mountedNamed } from '../containers/find.js';
import { findObject } from '../find-object.js';
import { topOf } from '../images/layers.js';
import { randomName } from '../containers/random-name.js';

/** `suid` and `dev`, which only root can have, are false unless they are asked for. */
export interface MountImageOptions extends Partial<MountTrust> {
  /** An existing directory. */
  readonly directory: ByteString;
  readonly readOnly?: boolean;
  /**
   * Of the read-write layer: one that exists is mounted again, otherwise it is made. Absent: a
   * random one.
   */
  readonly name?: string;
  /** Most bytes that can be written, where the driver can keep that. */
  readonly size?: number;
  readonly signal?: AbortSignal;
}

export interface MountedImage {
  /** Of the read-write layer. */
  readonly name?: string;
  readonly directory: string;
  readonly by: MountedBy['by'];
  readonly readOnly: boolean;
}

/**
 * `word`: a container, an image or a ChainID. If it fails, nothing is mounted and no layer made.
 * Throws `object-missing`, `mount-exists` for a name that belongs to another image, and what the
 * layer store throws.
 */
export async function mountImage(
  root: DataRoot,
  word: string,
  options: MountImageOptions,
): Promise<MountedImage> {
  const { readOnly = false, suid = false, dev = false, name, signal } = options;
  if ((suid || dev) && process.geteuid?.() !== 0)
    throw new UsageError('only root can mount with --suid or --dev: leave them out');
  const as = { readOnly, suid, dev };
  const directory = mountpointOf(options.directory);
  // A container's name is meant before an image's that is called the same: `NAME:TAG` is an image's
  // only.
  const container = name === undefined ? mountedNamed(root, word) : undefined;
  const found =
    container === undefined
      ? findObject(root, word, ['image', 'layer', 'mount'])
      : { kind: 'mount' as const, mounted: container };
  if (found.kind === 'mount') {
    if (name !== undefined && name !== found.mounted.name)
      throw new UsageError(`'${word}' has its name already: leave --name out`);
    return mountNamed(root, found.mounted, directory, as);
  }
  const top = topOf(root, found);
  if (readOnly && name === undefined) {
    if (top === undefined)
      throw new PlyfsError(
        'image-without-layers',
        `${word} has no layers: there is nothing to read.`,
      );
    const { by } = await root.layers.mountReadOnly(top.chainId, { target: directory, suid, dev });
    return { directory, by, readOnly };
  }

  const known = name === undefined ? undefined : root.layers.mounted(name);
  if (known !== undefined) {
    if (known.parent?.chainId !== top?.chainId) {
      throw new PlyfsError(
        'mount-exists',
        `'${known.name}' was made of another image than ${word}: choose another name, or mount it as ${known.name}.`,
      );
    }
    return mountNamed(root, known, directory, as);
  }
  signal?.throwIfAborted();
  const chosen = name ?? randomName((candidate) => root.layers.mounted(candidate) !== undefined);
  // Without an init layer: what is shown is the image, without a runtime's mount points.
  const mounted = await root.layers.createMounted(chosen, top?.chainId, {
    init: false,
    ...(options.size !== undefined && { size: options.size }),
  });
  try {
    signal?.throwIfAborted();
    return await mountNamed(root, mounted, directory, as);
  } catch (error) {
    await root.layers.releaseMounted(chosen);
    throw error;
  }
}

async function mountNamed(
  root: DataRoot,
  { name }: MountedLayer,
  directory: string,
  as: MountTrust & { readonly readOnly: boolean },
): Promise<MountedImage> {
  const { by } = await root.layers.mount(name, { target: directory, ...as });
  return { name, directory, by, readOnly: as.readOnly };
}

/** Absolute and without symbolic links. Throws `mountpoint-missing`. */
function mountpointOf(directory: ByteString): string {
  let real: Buffer;
  try {
    real = realpathSync.native(Buffer.from(directory, 'latin1'), 'buffer');
    if (!statSync(real).isDirectory())
      throw new PlyfsError(
        'mountpoint-missing',
        `${textOf(directory)} is not a directory: name one to mount at.`,
      );
  } catch (error) {
    if (error instanceof PlyfsError) throw error;
    throw new PlyfsError(
      'mountpoint-missing',
      `${textOf(directory)} cannot be mounted at: make that directory first.`,
      { cause: error },
    );
  }
  if (!isUtf8(real))
    throw new PlyfsError(
      'name-not-text',
      `${textOf(directory)} is not UTF-8: mount at another directory.`,
    );
  return real.toString();
}
