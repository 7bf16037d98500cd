/**
 * A layer's tar made a directory, as Docker's graph drivers extract it (moby, pkg/archive: Unpack
 * and UnpackLayer).
 *
 * What holds whatever the tar says:
 * - nothing is made, changed or removed outside of the directory (layer-root.ts);
 * - a whiteout hides what the layers below have, never what its own layer has, wherever in the tar
 *   it stands (image-spec, layer.md, "Whiteouts"): moby takes what comes first, and fails on some
 *   orders;
 * - a directory that is both deleted and made anew shows nothing from below;
 * - times of directories are set last.
 * A failure leaves a directory that is half a layer: the caller throws it away.
 */
import { basename, dirname } from 'node:path';
import { bytesOf, textOf, type ByteString, type Name } from '../base/bytes.js';
import { PlyfsError } from '../base/error.js';
import { sys } from '../sys/index.js';
import { opaqueAttribute } from '../overlay/private-xattrs.js';
import {
  hostile,
  isReserved,
  LINK_DIRECTORY,
  MAX_NAME,
  META_PREFIX,
  OPAQUE_MARKER,
  WHITEOUT_PREFIX,
} from './entry-path.js';
import { EntryWriter, failed } from './entry-writer.js';
import { marksOf } from '../overlay/layer-marks.js';
import type { LayerEntry, LayerReader } from './layer-reader.js';
import { LayerRoot, splitPath } from '../overlay/layer-root.js';
import { removeTreeAt } from '../overlay/remove-tree.js';
import type { LostAttribute } from './lost-attributes.js';
import { OwnPaths } from './own-paths.js';
import { ReplacedFiles } from './replaced-files.js';
import { join } from '../overlay/tree-reader.js';
import type { Ownership } from '../overlay/form.js';

export interface ApplyOptions {
  /**
   * What becomes of whiteouts. `overlay`: devices 0:0 and the opaque attribute, and `aufs`: files
   * as in the tar, both in a directory that was empty; `apply`: what they name is removed, from a
   * directory that holds the layers below.
   */
  readonly whiteouts: 'overlay' | 'aufs' | 'apply';
  readonly ownership: Ownership;
  /**
   * Default: that of this process's unions, and an ordinary user's where ownership is kept aside.
   */
  readonly opaqueXattr?: ByteString | undefined;
  /**
   * A directory that does not exist, in one in which the layer's lies as well, for files that the
   * layer replaces itself; when absent they are removed.
   */
  readonly replacedInto?: string | undefined;
}

export interface Applied {
  readonly entries: number;
  /**
   * The sizes in the tar's headers together: what Docker calls the size of a layer on drivers that
   * copy.
   */
  readonly size: number;
  /** What the file system or our rights did not let the files keep. */
  readonly lost: readonly LostAttribute[];
  /**
   * There are files in `replacedInto` whose bytes the layer's tar-split needs (replaced-files.ts).
   */
  readonly replaced: boolean;
}

/**
 * Throws what reading the layer throws, `archive-hostile`, `apply-failed`, `layer-missing`. Closes
 * the layer when it fails; does not call `finish`.
 */
export async function applyLayer(
  layer: LayerReader,
  directory: string,
  options: ApplyOptions,
): Promise<Applied> {
  let applying: Applying | undefined;
  try {
    const { replacedInto } = options;
    applying = new Applying(
      replacedInto === undefined
        ? LayerRoot.open(directory)
        : LayerRoot.openBelow(dirname(replacedInto), directory),
      options,
    );
    let entries = 0;
    let size = 0;
    for (let entry = await layer.next(); entry !== undefined; entry = await layer.next()) {
      entries++;
      size += entry.size;
      await applying.entry(entry);
    }
    applying.finish();
    return { entries, size, lost: applying.lost(), replaced: applying.replaced() };
  } catch (error) {
    await layer.close();
    throw error;
  } finally {
    applying?.close();
  }
}

class Applying {
  readonly #root: LayerRoot;
  readonly #writer: EntryWriter;
  readonly #whiteouts: ApplyOptions['whiteouts'];
  /** What the tar has brought so far, where the layers below are in the same directory. */
  readonly #own: OwnPaths | undefined;
  readonly #replaced: ReplacedFiles | undefined;
  #links = false;

  constructor(root: LayerRoot, options: ApplyOptions) {
    this.#root = root;
    this.#whiteouts = options.whiteouts;
    const opaque = options.opaqueXattr ?? opaqueAttribute(marksOf(options.ownership));
    this.#own = options.whiteouts === 'apply' ? new OwnPaths(root) : undefined;
    this.#replaced =
      options.replacedInto === undefined
        ? undefined
        : new ReplacedFiles(root.above, bytesOf(basename(options.replacedInto)) as Name);
    this.#writer = new EntryWriter(
      root,
      options.ownership,
      options.whiteouts === 'overlay' ? opaque : undefined,
      (dirfd, name) =>
        this.#replaced === undefined || this.#own?.has(dirfd, name) === false
          ? removeTreeAt(dirfd, name)
          : this.#replaced.take(dirfd, name),
    );
  }

  async entry(entry: LayerEntry): Promise<void> {
    const { path } = entry;
    if (path === '') {
      if (entry.type !== 'directory') throw hostile('has a root that is no directory');
      // As moby has it: a layer says nothing of the root's owner and mode where layers are kept
      // apart.
      if (this.#whiteouts === 'apply') this.#writer.updateRoot(entry);
    } else if (isReserved(path)) await this.#marker(entry);
    else {
      await this.#writer.write(entry);
      this.#own?.add(path);
    }
  }

  async #marker(entry: LayerEntry): Promise<void> {
    const { path } = entry;
    if (path.startsWith(META_PREFIX) && path !== OPAQUE_MARKER) {
      if (entry.type === 'file' && path.startsWith(`${LINK_DIRECTORY}/`))
        await this.#linkTarget(entry);
      return;
    }
    const { parent, name } = splitPath(path);
    if (isReserved(parent)) throw hostile(`has files below the whiteout ${textOf(parent)}`);
    if (this.#whiteouts === 'aufs') {
      if (name.length > MAX_NAME) throw unstorable(parent, name);
      await this.#writer.writeMarker(entry);
    } else if (name === OPAQUE_MARKER) this.#opaque(parent);
    else this.#whiteout(entry, parent, name.slice(WHITEOUT_PREFIX.length) as ByteString);
  }

  #opaque(directory: ByteString): void {
    const fd = this.#writer.directory(directory);
    if (this.#own === undefined) this.#writer.makeOpaque(fd, directory);
    else this.#own.removeOthers(directory);
  }

  #whiteout(entry: LayerEntry, parent: ByteString, name: ByteString): void {
    if (name === '' || name === '.' || name === '..')
      throw hostile(`has the whiteout ${textOf(entry.path)}, which names no file`);
    const path = (parent === '' ? name : `${parent}/${name}`) as ByteString;
    if (this.#own === undefined) this.#writer.whiteout(entry, path);
    else this.#own.removeBelow(path);
  }

  /**
   * AUFS keeps files with several names once more at the layer's root, and tars made of it have
   * links to them.
   */
  async #linkTarget(entry: LayerEntry): Promise<void> {
    if (!this.#links) {
      this.#links = true;
      const result =
        removeTreeAt(this.#root.fd, LINK_DIRECTORY as ByteString) ||
        sys.mkdirat(this.#root.fd, LINK_DIRECTORY as ByteString, 0o700);
      if (result < 0) throw failed(result, 'made', LINK_DIRECTORY as ByteString);
    }
    if (splitPath(entry.path).parent === LINK_DIRECTORY) await this.#writer.write(entry);
  }

  finish(): void {
    if (this.#links) {
      this.#root.forget();
      const result = removeTreeAt(this.#root.fd, LINK_DIRECTORY as ByteString);
      if (result < 0) throw failed(result, 'removed', LINK_DIRECTORY as ByteString);
    }
    this.#writer.setDirectoryTimes();
  }

  lost(): LostAttribute[] {
    return this.#writer.lost.list();
  }

  replaced(): boolean {
    return this.#replaced?.any === true;
  }

  close(): void {
    this.#replaced?.close();
    this.#root.close();
  }
}

/** As with Docker's drivers of that form, which cannot make the file either. */
function unstorable(parent: ByteString, marker: ByteString): PlyfsError {
  const name = join(parent, marker.slice(WHITEOUT_PREFIX.length) as ByteString);
  return new PlyfsError(
    'whiteout-unstorable',
    `The layer deletes ${textOf(name)}. On this storage driver that would be a file .wh.NAME, whose name of ${marker.length} bytes no file can have (${MAX_NAME} is the most): use the storage driver overlay2 or vfs.`,
  );
}
