/**
 * What a layer has brought into a directory that also holds the layers below, so that its whiteouts
 * spare it.
 *
 * A path is known by its directory's inode and its name: two paths that lead to one place through
 * symbolic links are one.
 */
import type { ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, S_IFDIR } from '../sys/constants.js';
import { numberedIdentity } from '../overlay/file-identity.js';
import { STAT_FIELDS } from '../sys/syscalls.js';
import { failed, typeOf } from './entry-writer.js';
import { namesIn, removeTree, type LayerRoot, splitPath } from '../overlay/layer-root.js';
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
    const { parent, name } = splitPath(path);
    this.#own.add(`${this.addDirectory(parent)}/${name}`);
  }

  /** Whether the name in the directory is the layer's. */
  has(dirfd: number, name: ByteString): boolean {
    return this.#own.has(`${inodeOf(dirfd)}/${name}`);
  }

  /** Returns its inode. */
  addDirectory(path: ByteString): string {
    const dirfd = this.#root.directory(path);
    if (dirfd < 0) throw failed(dirfd, 'opened', path);
    const inode = inodeOf(dirfd);
    if (!this.#directories.has(inode)) {
      if (path !== '') this.add(path);
      this.#directories.add(inode);
    }
    return inode;
  }

  /** A whiteout: of a directory that the layer has itself goes what is not the layer's. */
  removeBelow(path: ByteString): void {
    const { parent, name } = splitPath(path);
    const dirfd = this.#root.directory(parent);
    // Then there is nothing below.
    if (dirfd === -E.ENOENT || dirfd === -E.ENOTDIR) return;
    if (dirfd < 0) throw failed(dirfd, 'opened', path);
    this.#remove(dirfd, inodeOf(dirfd), name, path);
    this.#root.forget();
  }

  /** An opaque directory keeps what is the layer's. */
  removeOthers(directory: ByteString): void {
    this.addDirectory(directory);
    this.#removeIn(this.#root.directory(directory), directory);
    this.#root.forget();
  }

  #removeIn(dirfd: number, path: ByteString): void {
    const names = namesIn(dirfd);
    if (typeof names === 'number') throw failed(names, 'listed', path);
    const inode = inodeOf(dirfd);
    for (const name of names)
      this.#remove(dirfd, inode, name, (path === '' ? name : `${path}/${name}`) as ByteString);
  }

  /** The name, or, of a directory of the layer's, what is in it and not the layer's. */
  #remove(dirfd: number, inode: string, name: ByteString, path: ByteString): void {
    if (!this.#own.has(`${inode}/${name}`)) {
      const result = removeTree(dirfd, name);
      if (result < 0) throw failed(result, 'removed', path);
    } else if (typeOf(dirfd, name, path) === S_IFDIR) {
      const fd = sys.openat(dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
      if (fd < 0) throw failed(fd, 'opened', path);
      try {
        this.#removeIn(fd, path);
      } finally {
        sys.close(fd);
      }
    }
  }
}

function inodeOf(fd: number): string {
  const result = sys.statx(fd, '' as ByteString, stat, 0);
  if (result < 0) throw failed(result, 'read', '' as ByteString);
  return numberedIdentity(stat);
}
