/**
 * Files of a layer that a later entry of the same layer took away: it reached their place through a
 * link, as `lib/x` after `usr/lib/x` with `lib` a link to `usr/lib`, or put something else in place
 * of a directory on their way. Docker and podman load such a layer and can never save it. Here what
 * is replaced is moved aside while the layer is applied, and then its bytes are written into
 * tar-split, where Docker finds them as well: the layer's tar can be had again.
 */
import { renameSync } from 'node:fs';
import type { ByteString, Name } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import {
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  S_IFDIR,
  S_IFREG,
} from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { cleanPath } from './entry-path.js';
import { LayerRoot, namesIn, openBelow, openRegular, typeAt } from '../overlay/layer-root.js';
import { join } from '../overlay/tree-reader.js';
import { walkTrees, type TreeWalk, type Visit } from '../overlay/walk-trees.js';
import { readTarSplit, TarSplitWriter } from './tar-split.js';

/** Where the files go: a directory that is made with the first of them. */
export class ReplacedFiles {
  readonly #above: number;
  readonly #name: Name;
  #fd = -1;
  #count = 0;

  /** `above`: a directory of the layer's mount, the caller's; `name` must not exist in it. */
  constructor(above: number, name: Name) {
    this.#above = above;
    this.#name = name;
  }

  /** Something was moved there. */
  get any(): boolean {
    return this.#count > 0;
  }

  /** Moves a file, or a directory with all that is in it, away. 0 or `-errno`. */
  take(dirfd: number, name: ByteString): number {
    if (this.#fd < 0) {
      const made = sys.mkdirat(this.#above, this.#name, 0o700);
      if (made < 0) return made;
      this.#fd = sys.openat(
        this.#above,
        this.#name,
        O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        0,
      );
      if (this.#fd < 0) return this.#fd;
    }
    return sys.renameat2(dirfd, name, this.#fd, String(this.#count++) as Name, 0);
  }

  close(): void {
    if (this.#fd >= 0) sys.close(this.#fd);
    this.#fd = -1;
  }
}

const ROOT = '' as ByteString;
/** Bytes of a piece, and of a segment. */
const PIECE = 64 * 1024;

/**
 * Writes the tar-split at `path` anew, with the bytes of files that are not in `layer` any more,
 * from `replaced`. Whether the layer's tar comes of it only its digest tells, which is the caller's
 * to compare. Throws `layer-missing`, `apply-failed`.
 */
export async function inlineReplaced(path: string, layer: string, replaced: string): Promise<void> {
  const root = LayerRoot.open(layer);
  const aside = LayerRoot.open(replaced);
  const anew = `${path}.anew`;
  const writer = TarSplitWriter.create(anew);
  try {
    const kept = new Map<string, ByteString>();
    walkTrees([aside.fd], (walk) => indexFiles(walk, ROOT, kept));
    for await (const entry of readTarSplit(path)) {
      if (entry.kind === 'segment') {
        await writer.segment(entry.bytes);
        continue;
      }
      const { name, size, crc } = entry;
      const where = size === 0 || crc === undefined ? undefined : kept.get(keyOf(size, crc));
      if (where === undefined || isThere(root, cleanPath(name), size, crc!)) {
        await writer.file(name, size, crc);
        continue;
      }
      await writer.file(name, 0, undefined);
      const fd = aside.openFile(where, O_RDONLY);
      if (fd < 0) throw unreadable(fd);
      try {
        for (const piece of piecesOf(fd, size)) await writer.segment(piece);
      } finally {
        sys.close(fd);
      }
    }
    await writer.close();
    renameSync(anew, path);
  } finally {
    await writer.abort();
    root.close();
    aside.close();
  }
}

function keyOf(size: number, crc: Uint8Array): string {
  return `${size} ${Buffer.from(crc).toString('hex')}`;
}

/** Whether the layer still has a file of that content there. */
function isThere(root: LayerRoot, path: ByteString, size: number, crc: Uint8Array): boolean {
  const fd = root.openFile(path, O_RDONLY);
  if (
    fd === -E.ENOENT ||
    fd === -E.ENOTDIR ||
    fd === -E.ELOOP ||
    fd === -E.EINVAL ||
    fd === -E.ENXIO
  )
    return false;
  if (fd < 0) throw unreadable(fd);
  try {
    const found = contentOf(fd);
    return found.size === size && found.crc.equals(crc);
  } finally {
    sys.close(fd);
  }
}

/** Adds each file in the directory and below by its content. */
function* indexFiles(
  walk: TreeWalk,
  path: ByteString,
  index: Map<string, ByteString>,
): Visit<void> {
  const names = namesIn(walk.fd());
  if (typeof names === 'number') throw unreadable(names);
  for (const name of names) {
    const type = typeAt(walk.fd(), name);
    if (type < 0) throw unreadable(type);
    if (type === S_IFDIR) {
      const fd = openBelow(walk.fd(), name);
      if (fd < 0) throw unreadable(fd);
      yield { name, fds: [fd], visit: indexFiles(walk, join(path, name), index) };
    } else if (type === S_IFREG) {
      const fd = openRegular(walk.fd(), name, O_RDONLY);
      if (fd < 0) throw unreadable(fd);
      try {
        const { size, crc } = contentOf(fd);
        index.set(keyOf(size, crc), join(path, name));
      } finally {
        sys.close(fd);
      }
    }
  }
}

function contentOf(fd: number): { size: number; crc: Buffer } {
  const crc = Buffer.alloc(8);
  let size = 0;
  for (const piece of piecesOf(fd, Infinity)) {
    sys.crc64(crc, piece);
    size += piece.length;
  }
  return { size, crc };
}

/** As far as the file goes. A piece is valid until the next one. */
function* piecesOf(fd: number, size: number): Generator<Buffer> {
  const buffer = Buffer.allocUnsafe(PIECE);
  for (let at = 0; at < size;) {
    const got = sys.pread(fd, buffer.subarray(0, Math.min(PIECE, size - at)), at);
    if (got < 0) throw unreadable(got);
    if (got === 0) return;
    yield buffer.subarray(0, got);
    at += got;
  }
}

function unreadable(result: number): PlyfsError {
  return new PlyfsError(
    'apply-failed',
    `A file that the layer replaces itself cannot be read again (${reasonOf(-result)}): look at the disk.`,
  );
}
