/** Finding out, by trying in the workdir, what the upper's file system lets us do. */
import { bytesOf, textOf, type ByteString, type Name } from '../base/bytes.js';
import { E, errnoName } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { sys } from '../sys/index.js';
import { O_CLOEXEC, O_RDWR, O_TMPFILE } from '../sys/constants.js';
import type { DiskDirectory } from './disk-directory.js';
import type { OverlayPrefix } from './overlay-xattrs.js';
import { ACL_ACCESS, ACL_DEFAULT } from './posix-acl.js';
import { S_IFCHR } from './stat-buffer.js';
import type { UpperFeatures } from './upper-layer.js';

const TRIAL = bytesOf('#trial') as Name;
const yes = Buffer.from('y');

/** Throws `PlyfsError` when nothing can be made there at all. `warn` is told in a sentence what will be missing. */
export function tryFeatures(
  work: DiskDirectory,
  upperPath: ByteString,
  userXattr: boolean | undefined,
  warn: (sentence: string) => void,
): UpperFeatures {
  const shown = textOf(upperPath);
  const made = sys.mkdirat(work.fd(), TRIAL, 0o700);
  if (made < 0) throw new PlyfsError('workdir-not-writable', `cannot write to the workdir of upperdir ${shown} (${errnoName(-made)}).`);
  // What is made here must not inherit: it gets its attributes from what it copies.
  for (const acl of [ACL_DEFAULT, ACL_ACCESS]) sys.removexattrat(work.fd(), '' as ByteString, acl);
  const candidates: OverlayPrefix[] = userXattr === true ? ['user.overlay.'] : ['trusted.overlay.', 'user.overlay.'];
  const prefix = candidates.find((name) => sys.setxattrat(work.fd(), TRIAL, (name + 'trial') as ByteString, yes, 0) >= 0);
  sys.unlinkat(work.fd(), TRIAL, 0x200);

  const device = sys.mknodat(work.fd(), TRIAL, S_IFCHR, 0, 0);
  const whiteoutDevices = device >= 0;
  if (whiteoutDevices) sys.unlinkat(work.fd(), TRIAL, 0);
  const unnamed = sys.openat(work.fd(), '.' as ByteString, O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600);
  let tmpfile = false;
  if (unnamed >= 0) {
    tmpfile = sys.linkat(unnamed, '' as ByteString, work.fd(), TRIAL) >= 0;
    if (tmpfile) sys.unlinkat(work.fd(), TRIAL, 0);
    sys.close(unnamed);
  }

  if (prefix === undefined) {
    warn(
      `upperdir ${shown} takes no extended attributes: opaque directories are kept as .wh..wh..opq files, and inode numbers of copied files change at the next mount.`,
    );
  }
  if (!whiteoutDevices) {
    const reason = device === -E.EPERM ? 'this user may not make device nodes' : errnoName(-device);
    warn(`upperdir ${shown} takes no whiteout devices (${reason}): deletions are kept as .wh. files.`);
  }
  return { prefix, whiteoutDevices, tmpfile };
}
