/**
 * What a layer has brought into a directory that also holds the layers below, so that its whiteouts
 * spare it.
 *
 * A path is known by its directory's inode and its name: two paths that lead to one place through
 * symbolic links are one.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { S_IFDIR } from '../sys/constants.js';
import { numberedIdentity } from '../overlay/file-identity.js';
import { STAT_FIELDS } from '../sys/syscalls.js';
import { failed, typeOf } from './entry-writer.js';
import { namesIn, openBelow, splitPath, type LayerRoot } from '../overlay/layer-root.js';
import { removeTreeAt } from '../overlay/remove-tree.js';
import { join } from '../overlay/tree-reader.js';
import { walkTrees, type TreeWalk, type Visit } from '../overlay/walk-trees.js';
import { NameSet } from './name-set.js';

const stat = new Float64Array(STAT_FIELDS);

export class OwnPaths {
  readonly #root: LayerRoot;
  /** Inode of the directory, and the name. */
  readonly #own = new NameSet();
  /** Inodes of directories that are the layer's, and all above them. */
  readonly #directories = new Set<string>();

  constructor(root: LayerRoot) {
    this.#root = root;
  }

  /** The file is the layer's, and so are the directories above it, which must stay for it. */
  add(path: ByteString): void {
    for (let at = path; at !== '';) {
      const { parent, name } = splitPath(at);
      const inode = this.#inodeAt(parent);
      this.#own.add(`${inode}/${name}`);
      if (this.#directories.has(inode)) return;
      this.#directories.add(inode);
      at = parent;
    }
  }

  /** Whether the name in the directory is the layer's. */
  has(dirfd: number, name: ByteString): boolean {
    return this.#own.has(`${inodeOf(dirfd)}/${name}`);
  }

  #addDirectory(path: ByteString): void {
    const inode = this.#inodeAt(path);
    if (this.#directories.has(inode)) return;
    this.add(path);
    this.#directories.add(inode);
  }

  #inodeAt(directory: ByteString): string {
    const dirfd = this.#root.directory(directory);
    if (dirfd < 0) throw failed(dirfd, 'opened', directory);
    return inodeOf(dirfd);
  }

  /** A whiteout: of a directory that the layer has itself goes what is not the layer's. */
  removeBelow(path: ByteString): void {
    const { parent, name } = splitPath(path);
    const dirfd = this.#root.directory(parent);
    // Then there is nothing below.
    if (dirfd === -E.ENOENT || dirfd === -E.ENOTDIR) return;
    if (dirfd < 0) throw failed(dirfd, 'opened', path);
    const own = this.#remove(dirfd, inodeOf(dirfd), name, path);
    if (own !== undefined) {
      try {
        this.#removeIn(own, path);
      } finally {
        sys.close(own);
      }
    }
    this.#root.forget();
  }

  /** An opaque directory keeps what is the layer's. */
  removeOthers(directory: ByteString): void {
    this.#addDirectory(directory);
    this.#removeIn(this.#root.directory(directory), directory);
    this.#root.forget();
  }

  #removeIn(dirfd: number, path: ByteString): void {
    try {
      walkTrees([dirfd], (walk) => this.#others(walk, path));
    } catch (error) {
      throw error instanceof Errno ? failed(-error.errno, 'listed', path) : error;
    }
  }

  *#others(walk: TreeWalk, path: ByteString): Visit<void> {
    const names = namesIn(walk.fd());
    if (typeof names === 'number') throw failed(names, 'listed', path);
    const inode = inodeOf(walk.fd());
    for (const name of names) {
      const child = join(path, name);
      const fd = this.#remove(walk.fd(), inode, name, child);
      if (fd !== undefined) yield { name, fds: [fd], visit: this.#others(walk, child) };
    }
  }

  /**
   * The name, unless it is the layer's. Returns a directory of the layer's, which may have what is
   * not; the caller closes it.
   */
  #remove(dirfd: number, inode: string, name: Name, path: ByteString): number | undefined {
    if (!this.#own.has(`${inode}/${name}`)) {
      const result = removeTreeAt(dirfd, name);
      if (result < 0) throw failed(result, 'removed', path);
      return undefined;
    }
    if (typeOf(dirfd, name, path) !== S_IFDIR) return undefined;
    const fd = openBelow(dirfd, name);
    if (fd < 0) throw failed(fd, 'opened', path);
    return fd;
  }
}

function inodeOf(fd: number): string {
  const result = sys.statx(fd, '' as ByteString, stat, 0);
  if (result < 0) throw failed(result, 'read', '' as ByteString);
  return numberedIdentity(stat);
}
