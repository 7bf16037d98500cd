/** Finding out, by trying in the workdir, what the upper's file system lets us do. */
import { bytesOf, textOf, type ByteString, type Name } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { sys } from '../sys/index.js';
import {
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_RDWR,
  O_TMPFILE,
  O_WRONLY,
} from '../sys/constants.js';
import { overlayPrefix, type MarkClass } from '../overlay/private-xattrs.js';
import { ordersNamesAfterData } from './copy-flush.js';
import type { DiskDirectory } from '../overlay/disk-directory.js';
import { ACL_ACCESS, ACL_DEFAULT } from './posix-acl.js';
import { S_IFCHR, S_IFREG } from '../overlay/stat-buffer.js';
import type { UpperFeatures } from './upper-layer.js';
import { WHITEOUT_PREFIX } from '../overlay/whiteout.js';

/** One name a trial: what cannot be removed must not stand in the way of the next. */
const [FILE, DEVICE, LINK, MARKER] = [
  '#trial-file',
  '#trial-device',
  '#trial-link',
  `${WHITEOUT_PREFIX}#trial-marker`,
].map(bytesOf) as [Name, Name, Name, Name];
const yes = Buffer.from('y');

/**
 * No space for a trial, or it is still there from another time: what a file system cannot do it
 * refuses before it looks for space.
 */
const possible: ReadonlySet<number> = new Set([E.ENOSPC, E.EDQUOT, E.EEXIST]);
/**
 * A failure from which nothing follows: an upper must not be written in another form than before
 * because of it.
 */
const saysNothing: ReadonlySet<number> = new Set([
  E.EIO,
  E.ENOMEM,
  E.EROFS,
  E.ESTALE,
  E.EUCLEAN,
  E.EMFILE,
  E.ENFILE,
]);

function notWritable(shown: string, result: number): PlyfsError {
  return new PlyfsError(
    'workdir-not-writable',
    `cannot write to the workdir of upperdir ${shown} (${reasonOf(-result)}).`,
  );
}

/** `device`: what became of a whiteout device, where there can be none. */
function cannotMark(shown: string, marker: number, device: number | undefined): PlyfsError {
  const neither =
    device === undefined ? 'no' : `neither whiteout devices (${reasonOf(-device)}) nor`;
  return new PlyfsError(
    'upperdir-no-whiteouts',
    `upperdir ${shown} takes ${neither} files called .wh.NAME (${reasonOf(-marker)}), so that deletions could not be kept: put it on another file system.`,
  );
}

/**
 * Throws `PlyfsError` when nothing can be made there at all, or nothing be deleted. `byMarkers`:
 * deletions are to be `.wh.` files whatever else there is. `warn` is told in a sentence what will
 * be missing.
 */
export function tryFeatures(
  work: DiskDirectory,
  upperPath: ByteString,
  marks: MarkClass,
  byMarkers: boolean,
  warn: (sentence: string) => void,
): UpperFeatures {
  const shown = textOf(upperPath);
  /** Whether the file system can do what was tried. */
  const can = (result: number): boolean => {
    if (saysNothing.has(-result)) throw notWritable(shown, result);
    return result >= 0 || possible.has(-result);
  };
  const remove = (trial: Name): number => sys.unlinkat(work.fd(), trial, 0);

  const made = sys.mknodat(work.fd(), FILE, S_IFREG | 0o600, 0, 0);
  if (!can(made)) throw notWritable(shown, made);
  if (made >= 0) remove(FILE);
  // What is made here must not inherit: it gets its attributes from what it copies.
  for (const acl of [ACL_DEFAULT, ACL_ACCESS]) sys.removexattrat(work.fd(), '' as ByteString, acl);
  const attribute = `${overlayPrefix(marks)}trial` as ByteString;
  const set = sys.setxattrat(work.fd(), '' as ByteString, attribute, yes, 0);
  if (set >= 0) sys.removexattrat(work.fd(), '' as ByteString, attribute);
  const takesMarks = can(set);

  const device = sys.mknodat(work.fd(), DEVICE, S_IFCHR, 0, 0);
  const whiteoutDevices = can(device);
  if (device >= 0) remove(DEVICE);
  if (byMarkers || !whiteoutDevices || !takesMarks) {
    // By open(2), as markers are made: fuse-overlayfs refuses that alone.
    const marker = sys.openat(
      work.fd(),
      MARKER,
      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
      0o600,
    );
    if (!can(marker)) throw cannotMark(shown, marker, whiteoutDevices ? undefined : device);
    if (marker >= 0) {
      sys.close(marker);
      remove(MARKER);
    }
  }
  const unnamed = sys.openat(work.fd(), '.' as ByteString, O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600);
  let tmpfile = can(unnamed);
  if (unnamed >= 0) {
    const linked = sys.linkat(unnamed, '' as ByteString, work.fd(), LINK);
    sys.close(unnamed);
    tmpfile = can(linked);
    if (linked >= 0) remove(LINK);
  }

  if (!takesMarks) {
    warn(
      `upperdir ${shown} takes no extended attributes ${overlayPrefix(marks)}*: opaque directories are kept as .wh..wh..opq files, and inode numbers of copied files change at the next mount.`,
    );
  }
  if (!whiteoutDevices) {
    const reason = device === -E.EPERM ? 'this user may not make device nodes' : reasonOf(-device);
    warn(
      `upperdir ${shown} takes no whiteout devices (${reason}): deletions are kept as .wh. files.`,
    );
  }
  return {
    marks: takesMarks,
    whiteoutDevices,
    opaqueMarkers: !takesMarks,
    tmpfile,
    namesAfterData: ordersNamesAfterData(work.fd()),
  };
}
