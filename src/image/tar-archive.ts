/**
 * A tar of images, uncompressed and seekable, indexed by one pass over its headers and then read in
 * place.
 *
 * The headers are decoded by tar-stream. It reads a stream and cannot seek, so what lies between
 * the headers is not read but replaced by zeros: it passes through tar-stream without being looked
 * at, and only the headers are ever read from disk.
 */
import { closeSync, readSync } from 'node:fs';
import { once } from 'node:events';
import { extract, type Header } from 'tar-stream';
import { ByteCursor } from '../archive/byte-cursor.js';
import type { ByteSource } from '../base/byte-source.js';
import { PlyfsError } from '../base/error.js';
import {
  checkedLength,
  componentsOf,
  resolveLinks,
  type ArchiveFile,
  type ArchiveFiles,
} from './archive-files.js';
import { fileRange } from './file-range.js';
import { ARCHIVE_ENTRIES_MAX, ARCHIVE_EXTENDED_MAX, LINKS_MAX } from './limits.js';

const BLOCK = 512;
/** What tar-stream is given for bodies. */
const zeros = Buffer.alloc(8 << 20);

type Entry =
  /** `starts`: where its data begins, once for each time the tar has it, of one size. */
  | { readonly kind: 'file'; readonly starts: readonly number[]; readonly size: number }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'hard link'; readonly target: string }
  | { readonly kind: 'directory' | 'other' | 'ambiguous' };

export class TarArchive implements ArchiveFiles {
  readonly name: string;
  readonly #fd: number;
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(name: string, fd: number, entries: ReadonlyMap<string, Entry>) {
    this.name = name;
    this.#fd = fd;
    this.#entries = entries;
  }

  /**
   * `fd` is this object's from here on, and closed also when this fails. Throws `archive-damaged`,
   * `archive-hostile`.
   */
  static async open(
    name: string,
    fd: number,
    size: number,
    signal?: AbortSignal,
  ): Promise<TarArchive> {
    try {
      return new TarArchive(name, fd, await index(name, fd, size, signal));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  file(path: string): ArchiveFile | undefined {
    return this.#file(path, 0);
  }

  /** `links`: hard links followed on the way. */
  #file(path: string, links: number): ArchiveFile | undefined {
    const components = resolveLinks(path, this.name, (names) => {
      const entry = this.#entries.get(names.join('/'));
      return entry?.kind === 'symlink' ? entry.target : entry === undefined ? undefined : null;
    });
    const found = components === undefined ? undefined : this.#entries.get(components.join('/'));
    switch (found?.kind) {
      case 'file': {
        const { starts, size } = found;
        const what = `${path} in ${this.name}`;
        const [first, ...others] = starts.map(
          (start) => () => fileRange(this.#fd, start, size, what),
        );
        return {
          size,
          open: () =>
            others.reduce(
              (one, other) => agreeing(one, other(), () => this.#ambiguous(path)),
              first!(),
            ),
        };
      }
      case 'hard link':
        if (links === LINKS_MAX)
          throw new PlyfsError(
            'archive-hostile',
            `${this.name} has more than ${LINKS_MAX} hard links on the way to "${path}".`,
          );
        return this.#file(found.target, links + 1);
      case 'ambiguous':
        throw this.#ambiguous(path);
      default:
        return undefined;
    }
  }

  #ambiguous(path: string): PlyfsError {
    return new PlyfsError(
      'archive-hostile',
      `${this.name} has "${path}" more than once, with different content: programs would not agree which of them is meant.`,
    );
  }

  directories(): readonly string[] {
    return [...this.#entries]
      .flatMap(([name, entry]) =>
        entry.kind === 'directory' && !name.includes('/') && name !== '' ? [name] : [],
      )
      .sort();
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** The bytes of `one`, as long as `other` has the same; else throws `differ()`. */
async function* agreeing(one: ByteSource, other: ByteSource, differ: () => Error): ByteSource {
  const others = new ByteCursor(other, () => undefined);
  try {
    for await (const piece of one) {
      if (!(await others.exactly(piece.length)).equals(piece)) throw differ();
      yield piece;
    }
  } finally {
    await others.close();
  }
}

async function index(
  name: string,
  fd: number,
  size: number,
  signal: AbortSignal | undefined,
): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>();
  let header: Header | undefined;
  // With this mark every write asks to wait for `drain`, which comes when it was used up.
  const headers = extract({ highWaterMark: 1 });
  headers.on('entry', (found, body, next) => {
    header = found;
    body.resume();
    next();
  });
  // Whoever writes to it is told as well.
  headers.on('error', () => undefined);
  const feed = async (bytes: Buffer): Promise<void> => {
    if (!headers.write(bytes)) await once(headers, 'drain');
  };
  const damaged = (problem: string, cause?: unknown): PlyfsError =>
    new PlyfsError(
      'archive-damaged',
      `The tar ${name} is damaged: ${problem}; fetch or make the archive again.`,
      { cause },
    );
  const noTar = (cause?: unknown): PlyfsError =>
    new PlyfsError(
      'archive-damaged',
      `${name} is no tar, compressed or not: its first block is no header of one.`,
      { cause },
    );
  const block = Buffer.allocUnsafe(BLOCK);
  let extended = 0;
  /** Of the last header. */
  let begin = 0;

  try {
    for (let at = 0, empty = 0; at < size;) {
      signal?.throwIfAborted();
      const count = readSync(fd, block, 0, BLOCK, at);
      begin = at;
      if (count < BLOCK && at === 0) throw noTar();
      if (count < BLOCK) throw damaged(`it ends within a header, at byte ${at + count}`);
      at += BLOCK;
      if (block.equals(zeros.subarray(0, BLOCK))) {
        // Two of them end a tar; what follows is padding.
        if (++empty === 2) break;
        continue;
      }
      if (empty > 0) throw damaged(`there is an empty block before byte ${at - BLOCK}`);
      header = undefined;
      // Its bytes are used when `feed` returns: the next header goes into the same block.
      await feed(block);
      const found = header as Header | undefined;
      // The header of a long name, whose bytes follow, is not an entry: they are fed as they are.
      if (found === undefined) {
        extended += BLOCK;
        if (extended > ARCHIVE_EXTENDED_MAX)
          throw new PlyfsError(
            'archive-hostile',
            `${name} has extended headers of more than ${ARCHIVE_EXTENDED_MAX} bytes.`,
          );
        continue;
      }
      const body = found.type === 'directory' ? 0 : found.size;
      if (body > size - at)
        throw damaged(
          `"${found.name}" should have ${body} bytes, but only ${size - at} follow its header`,
        );
      add(entries, name, found, at);
      if (entries.size > ARCHIVE_ENTRIES_MAX)
        throw new PlyfsError(
          'archive-hostile',
          `${name} has more than ${ARCHIVE_ENTRIES_MAX} entries.`,
        );
      const padded = Math.ceil(body / BLOCK) * BLOCK;
      at += padded;
      for (let left = padded; left > 0; left -= zeros.length) {
        signal?.throwIfAborted();
        await feed(left < zeros.length ? zeros.subarray(0, left) : zeros);
      }
    }
  } catch (error) {
    if (error instanceof PlyfsError || signal?.aborted === true) throw error;
    // What tar-stream says of a header, it says to programmers.
    throw begin === 0
      ? noTar(error)
      : damaged(`the block at byte ${begin} is no header of a file`, error);
  } finally {
    headers.destroy();
  }
  return entries;
}

/** `start`: where the entry's data begins. */
function add(entries: Map<string, Entry>, archive: string, header: Header, start: number): void {
  const components = componentsOf(header.name, archive);
  const name = components.join('/');
  for (let depth = 1; depth < components.length; depth++) {
    const parent = components.slice(0, depth).join('/');
    if (!entries.has(parent)) entries.set(parent, { kind: 'directory' });
  }
  const entry = entryOf(header, start, archive);
  const former = entries.get(name);
  entries.set(name, former === undefined ? entry : bothOf(former, entry));
}

/**
 * Of a name that the tar has twice: what it is where both are the same, which only reading tells of
 * files.
 */
function bothOf(one: Entry, other: Entry): Entry {
  switch (one.kind) {
    case 'file':
      if (other.kind === 'file' && one.size === other.size)
        return { ...one, starts: [...one.starts, ...other.starts] };
      break;
    case 'symlink':
    case 'hard link':
      if (other.kind === one.kind && one.target === other.target) return one;
      break;
    case 'directory':
      if (other.kind === 'directory') return one;
      break;
    case 'other':
    case 'ambiguous':
      break;
  }
  return { kind: 'ambiguous' };
}

function entryOf(header: Header, start: number, archive: string): Entry {
  switch (header.type) {
    case 'file':
    case 'contiguous-file':
      return { kind: 'file', starts: [start], size: header.size };
    case 'symlink':
      return { kind: 'symlink', target: targetOf(header, archive) };
    case 'link':
      return { kind: 'hard link', target: targetOf(header, archive) };
    case 'directory':
      return { kind: 'directory' };
    default:
      return { kind: 'other' };
  }
}

/** tar-stream has `null` for an empty one, whatever its types say. */
function targetOf(header: { readonly linkname: string | null }, archive: string): string {
  return checkedLength(header.linkname ?? '', archive);
}
