/**
 * System calls on the upper by an ordinary user, whose own modes are in the way.
 *
 * What a caller may do is checked by the kernel, against the modes that the mount shows. To carry
 * it out takes more: a copy goes into a directory that nobody may write to (0555), a mark onto it,
 * a directory of that mode is moved, a file of mode 0200 is opened to be read as well. The kernel's
 * overlay does this with the mounter's capabilities (fs/overlayfs/super.c, `creator_cred`). An
 * owner without them may give himself the rights (chmod(2)): for the length of one system call,
 * only where it was refused, and never in a lower layer. Cut off in between, a file keeps more
 * rights for its owner than the mount had shown, and for nobody else.
 */
import type { ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { O_CLOEXEC, O_NOFOLLOW, O_PATH } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { StatField } from '../sys/syscalls.js';
import { field, fileType, newStatBuffer, S_IFLNK } from './stat-buffer.js';

const OWNERS_RIGHTS = 0o700;
const S_ISGID = 0o2000;
const ITSELF = '' as ByteString;
const stat = newStatBuffer();

/** A name in an open directory; where it is empty, what the descriptor leads to. */
export interface Place {
  readonly dirfd: number;
  readonly name: ByteString;
}

interface Lent {
  /** O_PATH: the file may have another name when the mode is given back. */
  readonly fd: number;
  readonly mode: number;
}

/**
 * What `attempt` returns, a result or `-errno`. While that is EACCES, one more of `places` grants
 * its owner everything; those on the way to others come first.
 */
export function asOwner(places: () => readonly Place[], attempt: () => number): number {
  let result = attempt();
  if (result !== -E.EACCES) return result;
  const lent: Lent[] = [];
  try {
    for (const place of places()) {
      const loan = lend(place);
      if (loan === undefined) continue;
      lent.push(loan);
      result = attempt();
      if (result !== -E.EACCES) break;
    }
    return result;
  } finally {
    for (const { fd, mode } of lent) {
      sys.fchmodat(fd, ITSELF, mode);
      sys.close(fd);
    }
  }
}

/** Undefined for what grants us everything already, or could not be given back. */
function lend({ dirfd, name }: Place): Lent | undefined {
  const fd =
    name === ITSELF ? sys.dup(dirfd) : sys.openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) return undefined;
  const mode = modeToWiden(fd);
  if (mode !== undefined && sys.fchmodat(fd, ITSELF, mode | OWNERS_RIGHTS) >= 0)
    return { fd, mode };
  sys.close(fd);
  return undefined;
}

function modeToWiden(fd: number): number | undefined {
  if (sys.statx(fd, ITSELF, stat, 0) < 0 || field(stat, 0, StatField.Uid) !== process.geteuid?.())
    return undefined;
  const mode = field(stat, 0, StatField.Mode) & 0o7777;
  // chmod(2) by somebody outside of the group takes S_ISGID away.
  if ((mode & S_ISGID) !== 0 && !isOwnGroup(field(stat, 0, StatField.Gid))) return undefined;
  return fileType(stat, 0) === S_IFLNK || (mode & OWNERS_RIGHTS) === OWNERS_RIGHTS
    ? undefined
    : mode;
}

function isOwnGroup(gid: number): boolean {
  return gid === process.getegid?.() || process.getgroups?.().includes(gid) === true;
}

/** The directory, and what has the name in it. */
export function wayTo(dirfd: number, name: ByteString): Place[] {
  const directory = { dirfd, name: ITSELF };
  return name === ITSELF ? [directory] : [directory, { dirfd, name }];
}

/**
 * A change of what a name in the directory leads to, by somebody who has that open, whatever the
 * directory's mode became. The file's own mode is left alone: it may be what is changed, and would
 * be given back.
 */
export function byNameAsOwner(dirfd: number, attempt: () => number): number {
  return asOwner(() => wayTo(dirfd, ITSELF), attempt);
}

/** renameat2(2): a directory that gets another parent must be writable itself. */
export function renameAsOwner(
  from: number,
  name: ByteString,
  to: number,
  newName: ByteString,
  flags: number,
): number {
  const places = (): Place[] => [
    { dirfd: from, name: ITSELF },
    { dirfd: to, name: ITSELF },
    { dirfd: from, name },
    { dirfd: to, name: newName },
  ];
  return asOwner(places, () => sys.renameat2(from, name, to, newName, flags));
}

/** linkat(2). */
export function linkAsOwner(
  from: number,
  name: ByteString,
  to: number,
  newName: ByteString,
): number {
  const places = (): Place[] => [
    { dirfd: to, name: ITSELF },
    { dirfd: from, name: ITSELF },
  ];
  return asOwner(places, () => sys.linkat(from, name, to, newName));
}

/** setxattrat(2): a `user.` attribute asks for permission to write (xattr(7)). */
export function setXattrAsOwner(
  dirfd: number,
  name: ByteString,
  attribute: ByteString,
  value: Uint8Array,
  flags: number,
): number {
  return asOwner(
    () => wayTo(dirfd, name),
    () => sys.setxattrat(dirfd, name, attribute, value, flags),
  );
}

/** removexattrat(2). */
export function removeXattrAsOwner(dirfd: number, name: ByteString, attribute: ByteString): number {
  return asOwner(
    () => wayTo(dirfd, name),
    () => sys.removexattrat(dirfd, name, attribute),
  );
}
