/**
 * What a layer's own files say by extended attributes, for who reads its directory without a mount:
 * marks as a mount by this process believes them.
 */
import type { ByteString } from '../base/bytes.js';
import { OVERRIDE_CONTAINERS, xattrAside, xattrFromAside } from './override-stat.js';
import {
  isAnyUnionXattr,
  opaqueAttributes,
  overlayPrefix,
  ownMarks,
  type MarkClass,
} from './private-xattrs.js';
import { xattr } from './tree-reader.js';
import type { Ownership } from './form.js';

const EMPTY = '' as ByteString;
const own = ownMarks();

/** Layers whose owners are kept aside are an ordinary user's. */
export function marksOf(ownership: Ownership): MarkClass {
  return ownership === 'real' ? own : 'user';
}

function mark(suffix: string, ownership: Ownership): ByteString {
  return (overlayPrefix(marksOf(ownership)) + suffix) as ByteString;
}

export function metacopyMark(ownership: Ownership): ByteString {
  return mark('metacopy', ownership);
}

export interface DirectoryMarks {
  /** Nothing of the layers below shows in it. */
  readonly opaque: boolean;
  /** Empty files with `overlay.whiteout` in it are whiteouts. */
  readonly xattrWhiteouts: boolean;
  /** It has another name in the layers below. */
  readonly redirect: boolean;
}

/** What a directory's attributes say of it. `path`: for the error. Throws `tree-unreadable`. */
export function directoryMarks(fd: number, path: ByteString, ownership: Ownership): DirectoryMarks {
  const values = opaqueAttributes(marksOf(ownership)).map((attribute) =>
    xattr(fd, EMPTY, attribute, path)?.toString('latin1'),
  );
  return {
    opaque: values.includes('y'),
    xattrWhiteouts: values[0] === 'x',
    redirect: xattr(fd, EMPTY, mark('redirect', ownership), path) !== undefined,
  };
}

/** Throws `tree-unreadable`. */
export function isXattrWhiteout(
  dirfd: number,
  name: ByteString,
  path: ByteString,
  ownership: Ownership,
): boolean {
  return xattr(dirfd, name, mark('whiteout', ownership), path) !== undefined;
}

function overrideOf(ownership: Ownership): ByteString | undefined {
  return ownership === 'override' ? OVERRIDE_CONTAINERS : undefined;
}

/** Where a layer's file keeps the attribute. */
export function nameInLayer(attribute: ByteString, ownership: Ownership): ByteString {
  return xattrAside(attribute, overrideOf(ownership)) ?? attribute;
}

/**
 * A file's attribute, wherever the layer keeps it; undefined when there is none. `path` is the
 * file's. Throws `tree-unreadable`.
 */
export function fileXattr(
  dirfd: number,
  name: ByteString,
  attribute: ByteString,
  path: ByteString,
  ownership: Ownership,
): Buffer | undefined {
  const kept = nameInLayer(attribute, ownership);
  return (
    xattr(dirfd, name, kept, path) ??
    (kept === attribute ? undefined : xattr(dirfd, name, attribute, path))
  );
}

/**
 * Those of a file's attributes that are its own and no union's, in byte order. `onDisk`: as the
 * layer has them.
 */
export function fileXattrNames(onDisk: readonly ByteString[], ownership: Ownership): ByteString[] {
  const names = onDisk.map((name) => xattrFromAside(name, overrideOf(ownership)) ?? name);
  return [...new Set(names.filter((name) => !isAnyUnionXattr(name)))].sort();
}
