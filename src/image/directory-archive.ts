/**
 * An archive of images that was unpacked, or made as a directory: an OCI layout,
 * `skopeo copy … dir:`.
 */
import { closeSync, readdirSync } from 'node:fs';
import type { ByteSource } from '../base/byte-source.js';
import { bytesOf } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { sys } from '../sys/index.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../sys/constants.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { resolveLinks, type ArchiveFile, type ArchiveFiles } from './archive-files.js';
import { fileRange } from './file-range.js';

/**
 * Every name is looked up from the directory's descriptor, one component at a time and without
 * following links: those are resolved here, within the directory, and the lookup that opens the
 * file meets none.
 */
export class DirectoryArchive implements ArchiveFiles {
  readonly name: string;
  readonly #root: number;

  /** Throws `archive-unreadable`. */
  constructor(path: string) {
    this.name = path;
    const fd = sys.openat(AT_FDCWD, bytesOf(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
      throw new PlyfsError(
        'archive-unreadable',
        `The directory ${path} cannot be read: ${new Errno(-fd).message}.`,
      );
    this.#root = fd;
  }

  file(path: string): ArchiveFile | undefined {
    const components = resolveLinks(path, this.name, (names) => this.#readLink(names));
    if (components === undefined || components.length === 0) return undefined;
    const fd = this.#open(components, O_PATH);
    if (fd === undefined) return undefined;
    try {
      const stat = statOf(fd);
      if ((stat[StatField.Mode]! & S_IFMT) !== S_IFREG) return undefined;
      const size = stat[StatField.Size]!;
      return { size, open: () => this.#read(components, size) };
    } finally {
      closeSync(fd);
    }
  }

  async *#read(components: readonly string[], size: number): ByteSource {
    const what = `${this.name}/${components.join('/')}`;
    // Not to wait for the writer of a fifo that took the file's place.
    const fd = this.#open(components, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd === undefined)
      throw new PlyfsError('archive-unreadable', `${what} was there, and is no more.`);
    try {
      if ((statOf(fd)[StatField.Mode]! & S_IFMT) !== S_IFREG)
        throw new PlyfsError('archive-unreadable', `${what} is no longer a file.`);
      yield* fileRange(fd, 0, size, what);
    } finally {
      closeSync(fd);
    }
  }

  #readLink(components: readonly string[]): string | null | undefined {
    const fd = this.#open(components, O_PATH);
    if (fd === undefined) return undefined;
    try {
      if ((statOf(fd)[StatField.Mode]! & S_IFMT) !== S_IFLNK) return null;
      const buffer = Buffer.alloc(4096);
      return buffer.toString('utf8', 0, check(sys.readlinkat(fd, bytesOf(''), buffer)));
    } finally {
      closeSync(fd);
    }
  }

  /** Undefined when it is not there, or a directory on the way is none. */
  #open(components: readonly string[], flags: number): number | undefined {
    let directory = this.#root;
    try {
      for (const [index, component] of components.entries()) {
        const last = index === components.length - 1;
        const fd = sys.openat(
          directory,
          bytesOf(component),
          (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC,
          0,
        );
        if (fd === -E.ENOENT || fd === -E.ENOTDIR) return undefined;
        const opened = check(fd, `${this.name}/${components.slice(0, index + 1).join('/')}`);
        if (last) return opened;
        if (directory !== this.#root) closeSync(directory);
        directory = opened;
      }
      return undefined;
    } finally {
      if (directory !== this.#root) closeSync(directory);
    }
  }

  directories(): readonly string[] {
    return readdirSync(`/proc/self/fd/${this.#root}`)
      .filter((name) => {
        const fd = this.#open([name], O_PATH);
        if (fd === undefined) return false;
        try {
          return (statOf(fd)[StatField.Mode]! & S_IFMT) === S_IFDIR;
        } finally {
          closeSync(fd);
        }
      })
      .sort();
  }

  close(): void {
    closeSync(this.#root);
  }
}

function statOf(fd: number): Float64Array {
  const stat = new Float64Array(STAT_FIELDS);
  check(sys.statx(fd, bytesOf(''), stat, 0));
  return stat;
}
