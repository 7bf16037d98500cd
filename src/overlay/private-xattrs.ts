/**
 * The extended attributes in which unions keep account: the kernel's overlayfs, fuse-overlayfs,
 * containers/storage and this one. One list of their names, for whoever reads, hides, escapes or
 * drops them.
 *
 * A union has marks of one class: under `trusted.overlay.`, which root of the machine alone can set
 * and read, or under `user.overlay.`, which anybody can set on a file of theirs (overlayfs.rst,
 * "User xattr"; fs/overlayfs/params.c, ovl_fs_params_verify). Marks of the other class are data
 * like any other. Those of peers are hidden from both.
 *
 * What a union above this one stores through the mount is escaped, by `overlay.` after the prefix
 * (fs/overlayfs/xattrs.c), once for each level of nesting.
 */
import type { ByteString } from '../base/bytes.js';
import { readsTrustedXattrs } from '../sys/privilege.js';

export type MarkClass = 'trusted' | 'user';
export type OverlayPrefix = `${MarkClass}.overlay.`;

/** fuse-overlayfs's, where it cannot set `trusted.overlay.opaque`. */
export const PEER_OPAQUE = 'user.fuseoverlayfs.opaque' as ByteString;
/**
 * Owner, mode and type of containers/storage's (`override_stat`), and whatever else is kept aside
 * (override-stat.ts).
 */
export const ASIDE_PREFIX = 'user.containers.override_';

/** The class of this process's unions, unless it is told otherwise. */
export function ownMarks(): MarkClass {
  return readsTrustedXattrs() ? 'trusted' : 'user';
}

export function overlayPrefix(marks: MarkClass): OverlayPrefix {
  return `${marks}.overlay.`;
}

/**
 * The attribute that says of a directory that nothing shows from below (`y`), or that empty files
 * in it may be whiteouts (`x`).
 */
export function opaqueAttribute(marks: MarkClass): ByteString {
  return `${overlayPrefix(marks)}opaque` as ByteString;
}

/** All by which a directory may say so. */
export function opaqueAttributes(marks: MarkClass): ByteString[] {
  return marks === 'user' ? [opaqueAttribute(marks), PEER_OPAQUE] : [opaqueAttribute(marks)];
}

const ESCAPE = 'overlay.';

interface Family {
  readonly prefix: string;
  /** How the rest of a name begins that is a union's. */
  readonly begins: string;
}

const peers: readonly Family[] = [
  { prefix: 'user.fuseoverlayfs.', begins: '' },
  { prefix: 'security.fuseoverlayfs.', begins: '' },
  { prefix: 'user.containers.', begins: ASIDE_PREFIX.slice('user.containers.'.length) },
];

const families: Readonly<Record<MarkClass, readonly Family[]>> = {
  trusted: [{ prefix: overlayPrefix('trusted'), begins: '' }, ...peers],
  user: [{ prefix: overlayPrefix('user'), begins: '' }, ...peers],
};

/** The family that a name is of, escaped or not. */
function familyOf(name: string, marks: MarkClass): Family | undefined {
  for (const family of families[marks]) {
    if (!name.startsWith(family.prefix)) continue;
    let at = family.prefix.length;
    while (name.startsWith(ESCAPE, at)) at += ESCAPE.length;
    return name.startsWith(family.begins, at) ? family : undefined;
  }
  return undefined;
}

/** Whether the attribute, as it is on disk, is the union's own and hidden from the mount. */
export function isPrivateXattr(onDisk: string, marks: MarkClass): boolean {
  const family = familyOf(onDisk, marks);
  return family !== undefined && !onDisk.startsWith(ESCAPE, family.prefix.length);
}

/**
 * The on-disk name of an attribute named through the mount: `trusted.overlay.x` is kept as
 * `trusted.overlay.overlay.x`.
 */
export function xattrToDisk(shown: ByteString, marks: MarkClass): ByteString {
  const family = familyOf(shown, marks);
  return family === undefined
    ? shown
    : ((family.prefix + ESCAPE + shown.slice(family.prefix.length)) as ByteString);
}

/** The name under which the mount shows an attribute that is not private. */
export function xattrFromDisk(onDisk: ByteString, marks: MarkClass): ByteString {
  const family = familyOf(onDisk, marks);
  return family === undefined
    ? onDisk
    : ((family.prefix + onDisk.slice(family.prefix.length + ESCAPE.length)) as ByteString);
}

/**
 * Whether an attribute is a union's, whatever its class: no part of a layer's tar, and nothing that
 * a tar may bring.
 */
export function isAnyUnionXattr(attribute: string): boolean {
  return isPrivateXattr(attribute, 'trusted') || isPrivateXattr(attribute, 'user');
}
