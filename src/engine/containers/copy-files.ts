/**
 * `ply cp`: files out of a container and into it, with the rules of `docker cp` (moby,
 * pkg/archive/copy.go): a directory goes into one that is there, under its own name, or, written
 * `DIR/.`, its content does; to a name that is not there goes what is copied, under that name.
 *
 * Into a container owners are kept as numbers; out of it the files are the caller's, unless they
 * are to be kept.
 */
import { lostSentence } from '../../archive/lost-attributes.js';
import { extractInto } from '../../archive/extract.js';
import { packFile } from '../../archive/pack-layer.js';
import type { ByteSource } from '../../base/byte-source.js';
import { bytesOf, textOf, type ByteString } from '../../base/bytes.js';
import { check } from '../../base/errno.js';
import { PlyfsError } from '../../base/error.js';
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH } from '../../sys/constants.js';
import { sys } from '../../sys/index.js';
import { openPrivately } from '../../sys/private-mount.js';
import { abortable } from '../../layer/abortable.js';
import { lookUp, type Place } from './copy-place.js';
import type { DataRoot } from '../data-root.js';
import { findMounted } from './find.js';

export interface CopyOptions {
  /** A link in the source's last place is followed. */
  readonly followLink?: boolean;
  /** Out of a container: owners as they are there. */
  readonly keepOwners?: boolean;
  readonly signal?: AbortSignal;
}

export interface Copied {
  readonly files: number;
  /** Bytes of files. */
  readonly bytes: number;
  /** One sentence each: what could not be kept. */
  readonly problems: readonly string[];
}

/**
 * `destination`: a path of the host's. Throws `container-missing`, `copy-path-missing`,
 * `copy-conflict`, and what showing the container throws.
 */
export function copyOut(
  root: DataRoot,
  word: string,
  path: ByteString,
  destination: ByteString,
  options: CopyOptions = {},
): Promise<Copied> {
  const { followLink = false, keepOwners = false, signal } = options;
  const owner = keepOwners ? undefined : { uid: process.geteuid!(), gid: process.getegid!() };
  return inContainer(root, word, { write: false }, async (top, ownership) => {
    const source = sourceAt(top, path, followLink);
    try {
      return await copyTo(AT_FDCWD, destination, 'real', source, (dirfd, name, as) =>
        stoppable(packFile(dirfd, name, as, { form: 'none', ownership, owner }), signal),
      );
    } finally {
      source.place.close();
    }
  });
}

/** `source`: a path of the host's. Throws as `copyOut`. */
export function copyIn(
  root: DataRoot,
  word: string,
  source: ByteString,
  path: ByteString,
  options: CopyOptions = {},
): Promise<Copied> {
  const { followLink = false, signal } = options;
  return inContainer(root, word, { write: true }, async (top, ownership) => {
    const from = sourceAt(AT_FDCWD, source, followLink);
    try {
      return await copyTo(top, path, ownership, from, (dirfd, name, as) =>
        stoppable(packFile(dirfd, name, as, { form: 'none', ownership: 'real' }), signal),
      );
    } finally {
      from.place.close();
    }
  });
}

/** A tar of it, with owners as they are there. Throws as `copyOut`, while it is read. */
export async function copyOutAsTar(
  root: DataRoot,
  word: string,
  path: ByteString,
  sink: (tar: ByteSource) => Promise<void>,
  { followLink = false, signal }: CopyOptions = {},
): Promise<void> {
  await inContainer(root, word, { write: false }, async (top, ownership) => {
    const { place, base } = sourceAt(top, path, followLink);
    try {
      await sink(
        stoppable(packFile(place.dirfd, place.name, base, { form: 'none', ownership }), signal),
      );
    } finally {
      place.close();
    }
  });
}

/** Puts a tar, compressed or not, into a directory. Throws as `copyOut`, and `archive-…`. */
export function copyTarIn(
  root: DataRoot,
  word: string,
  tar: ByteSource,
  path: ByteString,
  { signal }: CopyOptions = {},
): Promise<Copied> {
  return inContainer(root, word, { write: true }, async (top, ownership) => {
    const place = lookUp(top, path, { follow: true });
    try {
      if (!place.isDirectory)
        throw conflict(`${textOf(path)} is no directory`, 'name one for the tar');
      return await inDirectory(place, (dirfd) =>
        extracted(dirfd, signal === undefined ? tar : abortable(tar, signal), ownership, true),
      );
    } finally {
      place.close();
    }
  });
}

type Ownership = 'real' | 'override';

function inContainer<T>(
  root: DataRoot,
  word: string,
  options: { write: boolean },
  work: (top: number, ownership: Ownership) => Promise<T>,
): Promise<T> {
  const { name } = findMounted(root, word);
  return root.layers.whileShown(name, options, async (path, ownership) => {
    // What is mounted inside is not the container's.
    const shown = bytesOf(path);
    const top =
      openPrivately(shown) ??
      check(sys.openat(AT_FDCWD, shown, O_PATH | O_DIRECTORY | O_CLOEXEC, 0), path);
    try {
      return await work(top, ownership);
    } finally {
      sys.close(top);
    }
  });
}

interface Source {
  readonly place: Place;
  /** What it is called where it is put into a directory; empty: only what is in it goes there. */
  readonly base: ByteString;
}

function sourceAt(root: number, path: ByteString, followLink: boolean): Source {
  const place = lookUp(root, path, { follow: followLink });
  const gone =
    place.type === 0
      ? 'is not there'
      : /\/\.?$/.test(path) && !place.isDirectory
        ? 'is no directory'
        : undefined;
  if (gone !== undefined) {
    place.close();
    throw new PlyfsError(
      'copy-path-missing',
      `${textOf(path)} ${gone}: name a file or directory that is there.`,
    );
  }
  // A directory named with a slash is called what it is called without.
  const [, base = ''] = /([^/]*)\/*$/.exec(path)!;
  return { place, base: (base === '.' || base === '..' ? '' : base) as ByteString };
}

type Pack = (dirfd: number, name: ByteString, as: ByteString) => ByteSource;

async function copyTo(
  root: number,
  path: ByteString,
  ownership: Ownership,
  { place: from, base }: Source,
  pack: Pack,
): Promise<Copied> {
  const to = lookUp(root, path, { follow: true });
  const bounded = root !== AT_FDCWD;
  try {
    const shown = textOf(path);
    if (to.isDirectory)
      return await inDirectory(to, (dirfd) =>
        extracted(dirfd, pack(from.dirfd, from.name, base), ownership, bounded),
      );
    const wantsDirectory = /\/\.?$/.test(path);
    if (to.type !== 0 && from.isDirectory)
      throw conflict(
        `A directory cannot be copied to ${shown}, which is a file`,
        'name a directory',
      );
    if (to.type !== 0 && wantsDirectory)
      throw conflict(`${shown} is no directory`, 'leave the slash out, or name a directory');
    if (wantsDirectory && !from.isDirectory)
      throw conflict(`The directory ${shown} is not there`, 'make it first');
    return await extracted(to.dirfd, pack(from.dirfd, from.name, to.name), ownership, bounded);
  } finally {
    to.close();
  }
}

/** The directory that the place is, and not the one that it is in. */
async function inDirectory<T>(
  { dirfd, name }: Place,
  work: (dirfd: number) => Promise<T>,
): Promise<T> {
  const fd =
    name === ''
      ? dirfd
      : check(
          sys.openat(dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0),
          textOf(name),
        );
  try {
    return await work(fd);
  } finally {
    if (fd !== dirfd) sys.close(fd);
  }
}

async function extracted(
  dirfd: number,
  tar: ByteSource,
  ownership: Ownership,
  bounded: boolean,
): Promise<Copied> {
  const { entries, size, lost } = await extractInto(dirfd, tar, { ownership, bounded });
  return { files: entries, bytes: size, problems: lost.map(lostSentence) };
}

function conflict(what: string, remedy: string): PlyfsError {
  return new PlyfsError('copy-conflict', `${what}: ${remedy}.`);
}

async function* stoppable(source: ByteSource, signal: AbortSignal | undefined): ByteSource {
  for await (const piece of source) {
    signal?.throwIfAborted();
    yield piece;
  }
}
