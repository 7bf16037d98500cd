/**
 * The files of an archive of images, whatever it comes in: a tar that is indexed and read in place,
 * or a directory.
 *
 * Names come from the archive and are hostile. A name is cleaned first (`./a//b` is `a/b`), and one
 * that leads out is refused; symbolic links are followed within the archive only, whose root is
 * where absolute targets begin, as moby's loader does (pkg/symlink, FollowSymlinkInScope), and not
 * more than `LINKS_MAX` of them.
 */
import type { ByteSource } from '../base/byte-source.js';
import { readAll } from '../base/byte-source.js';
import { PlyfsError } from '../base/error.js';
import { ARCHIVE_NAME_MAX, LINKS_MAX } from './limits.js';

export interface ArchiveFile {
  readonly size: number;
  /** Any number of times, as long as the archive is open. */
  open(): ByteSource;
}

export interface ArchiveFiles {
  /** For messages: the archive as the caller named it. */
  readonly name: string;
  /** Undefined when there is none of that name, or it is not a file. Throws `archive-hostile`. */
  file(path: string): ArchiveFile | undefined;
  /** Names of the directories at the top, sorted. */
  directories(): readonly string[];
  close(): void;
}

/** A name or a target that a file system could have. Throws `archive-hostile`. */
export function checkedLength(path: string, archive: string): string {
  if (path.length <= ARCHIVE_NAME_MAX) return path;
  throw new PlyfsError(
    'archive-hostile',
    `${archive} has a name of ${path.length} characters ("${path.slice(0, 64)}…"), where ${ARCHIVE_NAME_MAX} are the most.`,
  );
}

/** The components of a name in the archive. Throws `archive-hostile` when it leads out of it. */
export function componentsOf(path: string, archive: string): string[] {
  const components = checkedLength(path, archive)
    .split('/')
    .filter((component) => component !== '' && component !== '.');
  if (components.includes('..') || path.includes('\0')) {
    throw new PlyfsError(
      'archive-hostile',
      `${archive} names "${path}", which would lead out of the archive.`,
    );
  }
  return components;
}

/**
 * What stands at a name: a symbolic link's target, or anything else (`null`), or nothing
 * (undefined).
 */
export type ReadLink = (components: readonly string[]) => string | null | undefined;

/**
 * The name that `path` leads to when every symbolic link on the way is followed; undefined when one
 * of them leads nowhere.
 */
export function resolveLinks(
  path: string,
  archive: string,
  readLink: ReadLink,
): string[] | undefined {
  const done: string[] = [];
  const left = componentsOf(path, archive).reverse();
  let links = 0;
  while (left.length > 0) {
    const component = left.pop()!;
    if (component === '' || component === '.') continue;
    if (component === '..') {
      done.pop();
      continue;
    }
    done.push(component);
    const target = readLink(done);
    if (target === undefined) return undefined;
    if (target === null) continue;
    if (++links > LINKS_MAX)
      throw new PlyfsError(
        'archive-hostile',
        `${archive} has more than ${LINKS_MAX} symbolic links on the way to "${path}".`,
      );
    done.pop();
    if (target.startsWith('/')) done.length = 0;
    left.push(...target.split('/').reverse());
  }
  return done;
}

/** All of a small file. Throws `archive-too-large` when it is larger than `limit`. */
export async function readSmallFile(
  file: ArchiveFile,
  limit: number,
  what: string,
): Promise<Buffer> {
  const bytes = file.size > limit ? undefined : await readAll(file.open(), limit);
  if (bytes === undefined)
    throw new PlyfsError(
      'archive-too-large',
      `${what} is larger than ${limit} bytes, which no image needs.`,
    );
  return bytes;
}
