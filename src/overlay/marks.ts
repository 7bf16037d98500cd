/** The union's marks in a layer, read where they are believed (belief.ts). */
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { XATTR_SIZE_MAX } from '../sys/constants.js';
import { overlayPrefix, PEER_OPAQUE } from './private-xattrs.js';
import type { LayerDirectory } from './layer.js';

const scratch = Buffer.alloc(XATTR_SIZE_MAX);

/** The value, in a buffer of its own, or `-errno`. */
export function readXattr(
  directory: LayerDirectory,
  name: ByteString,
  attribute: ByteString,
): Buffer | number {
  const size = directory.getxattr(name, attribute, scratch);
  return size < 0 ? size : Buffer.from(scratch.subarray(0, size));
}

/** What any union may have set on a file of a layer. */
const anyMarks: readonly ByteString[] = [
  PEER_OPAQUE,
  ...(['trusted', 'user'] as const).flatMap((marks) =>
    ['opaque', 'redirect', 'impure', 'metacopy', 'whiteout'].map(
      (suffix) => (overlayPrefix(marks) + suffix) as ByteString,
    ),
  ),
];

/**
 * The file's attributes; of those that are too many to be listed, its marks. A number is `-errno`.
 */
export function marksAmong(
  directory: LayerDirectory,
  name: ByteString,
): readonly ByteString[] | number {
  const names = directory.xattrNames(name);
  return names === -E.E2BIG
    ? anyMarks.filter((mark) => directory.getxattr(name, mark, null) >= 0)
    : names;
}

/** What a directory of a layer says of the layers below it. */
export interface DirectoryMarks {
  /** Nothing from below shows (`overlay.opaque=y` and its kin). */
  opaque: boolean;
  /** Zero-size files with `overlay.whiteout` are whiteouts (`overlay.opaque=x`). */
  xattrWhiteouts: boolean;
  /**
   * The name it has in the layers below: a sibling's name, or an absolute path
   * (`overlay.redirect`).
   */
  redirect: ByteString | undefined;
  /** Upper only: holds names whose inode number is that of a lower file (`overlay.impure`). */
  impure: boolean;
}

export const NO_MARKS: Readonly<DirectoryMarks> = {
  opaque: false,
  xattrWhiteouts: false,
  redirect: undefined,
  impure: false,
};
const AUFS_OPAQUE = '.wh..wh..opq' as Name;
const probe = new Float64Array(24);

/**
 * One listxattr(2) for the many directories that carry no mark; one getxattr(2) for each mark there
 * is. Throws `Errno`.
 */
export function readMarks(directory: LayerDirectory): Readonly<DirectoryMarks> {
  let marks: DirectoryMarks | undefined;
  const attributes = marksAmong(directory, '' as ByteString);
  if (typeof attributes === 'number') requireUnmarked(attributes);
  else if (attributes.length > 0) {
    const { marks: ours, unbelieved } = directory.layer;
    const prefix = overlayPrefix(ours);
    for (const attribute of attributes) {
      if (ours === 'user' && attribute === PEER_OPAQUE && valueIs(directory, attribute, 'y'))
        (marks ??= { ...NO_MARKS }).opaque = true;
      if (!attribute.startsWith(prefix)) {
        unbelieved.mark(directory, '' as ByteString, attribute);
        continue;
      }
      const value = readXattr(directory, '' as ByteString, attribute);
      if (typeof value === 'number') {
        requireUnmarked(value);
        continue;
      }
      const text = value.toString('latin1');
      switch (attribute.slice(prefix.length)) {
        case 'opaque':
          if (text === 'y') (marks ??= { ...NO_MARKS }).opaque = true;
          if (text === 'x') (marks ??= { ...NO_MARKS }).xattrWhiteouts = true;
          break;
        case 'redirect':
          (marks ??= { ...NO_MARKS }).redirect = text as ByteString;
          break;
        case 'impure':
          if (text === 'y') (marks ??= { ...NO_MARKS }).impure = true;
          break;
        default:
          break;
      }
    }
  }
  if (directory.layer.form === 'aufs' && directory.stat(AUFS_OPAQUE, probe, 0) >= 0)
    (marks ??= { ...NO_MARKS }).opaque = true;
  return marks ?? NO_MARKS;
}

function valueIs(directory: LayerDirectory, attribute: string, expected: string): boolean {
  const value = readXattr(directory, '' as ByteString, attribute as ByteString);
  if (typeof value === 'number') requireUnmarked(value);
  return typeof value !== 'number' && value.toString('latin1') === expected;
}

/**
 * Ways in which a file or directory says that it carries no mark, or none for us. After any other
 * failure it may well carry one.
 */
const withoutMarks: readonly number[] = [-E.ENODATA, -E.EOPNOTSUPP, -E.EACCES, -E.EPERM];

/** Throws `Errno` for a `-errno` that leaves open whether there is a mark. */
export function requireUnmarked(result: number): void {
  if (!withoutMarks.includes(result)) throw new Errno(-result, 'getxattr');
}

/** The value of the file's `overlay.NAME`, if it carries that. */
export function readOverlayXattr(
  directory: LayerDirectory,
  name: ByteString,
  suffix: string,
): Buffer | undefined {
  const value = readXattr(
    directory,
    name,
    (overlayPrefix(directory.layer.marks) + suffix) as ByteString,
  );
  if (typeof value !== 'number') return value;
  requireUnmarked(value);
  return undefined;
}
