/**
 * Extended attributes by which overlayfs, fuse-overlayfs and this union keep account on disk. They are no part of a layer's tar: a tar that had them could
 * lead a file elsewhere in the layers below (`overlay.redirect`, `overlay.metacopy`), or change its owner (`override_stat`).
 */
import type { ByteString } from '../base/bytes.js';
import { xattr } from './tree-reader.js';

/** Inside `*.overlay.`, a nested overlay's own (fs/overlayfs/xattrs.c, "escaping"): data like any other. */
const overlay = /^(?:trusted|user)\.overlay\.(?!overlay\.)/;
const others = /^(?:user|security)\.(?:fuseoverlayfs\.(?:origin|opaque|override_stat)|containers\.override_stat)$/;

export function isUnionXattr(attribute: string): boolean {
  return overlay.test(attribute) || others.test(attribute);
}

const prefixes = ['trusted.overlay.', 'user.overlay.'] as const;
const EMPTY = '' as ByteString;

export interface DirectoryMarks {
  /** Nothing of the layers below shows in it. */
  readonly opaque: boolean;
  /** Empty files with `overlay.whiteout` in it are whiteouts. */
  readonly xattrWhiteouts: boolean;
  /** It has another name in the layers below. */
  readonly redirect: boolean;
}

/** What a directory's attributes say of it. `path`: for the error. Throws `tree-unreadable`. */
export function directoryMarks(fd: number, path: ByteString): DirectoryMarks {
  const valueOf = (attribute: string): string | undefined => xattr(fd, EMPTY, attribute as ByteString, path)?.toString('latin1');
  const values = [...prefixes.map((prefix) => valueOf(prefix + 'opaque')), valueOf('user.fuseoverlayfs.opaque')];
  return {
    opaque: values.includes('y'),
    xattrWhiteouts: values.includes('x'),
    redirect: prefixes.some((prefix) => valueOf(prefix + 'redirect') !== undefined),
  };
}

/** Throws `tree-unreadable`. */
export function isXattrWhiteout(dirfd: number, name: ByteString, path: ByteString): boolean {
  return prefixes.some((prefix) => xattr(dirfd, name, (prefix + 'whiteout') as ByteString, path) !== undefined);
}
