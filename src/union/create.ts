/**
 * New files, directories, links and nodes.
 *
 * A name that has no object in the upper is made in its place. Where a whiteout stands, the new
 * object is made in the workdir with everything it needs and takes the whiteout's place in one
 * rename; a directory is then opaque, or what the whiteout hid would show through.
 */
import { after, type Awaitable } from '../base/awaitable.js';
import type { ByteString, Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { O_CLOEXEC, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR, O_TMPFILE } from '../sys/constants.js';
import { StatField } from '../sys/syscalls.js';
import type { Attributes, Caller, NodeId } from '../vfs/filesystem.js';
import { fillAttributes, getattr } from './attributes.js';
import type { UnionContext } from './context.js';
import {
  copyUp,
  linkNode,
  markImpure,
  tryLinkNode,
  upperDirectory,
  writableUpper,
} from './copy-up.js';
import type { DiskDirectory } from '../overlay/disk-directory.js';
import { numberOn } from './inode-numbers.js';
import { addToDirectory, readyForChange } from './listing.js';
import { findDentry } from './merge.js';
import { Dentry, DirectoryNode, Node, LinkGroup, statNode } from './node.js';
import { readXattr } from '../overlay/marks.js';
import { ACL_ACCESS, ACL_DEFAULT, inheritAcl } from './posix-acl.js';
import { refuseChange, refuseEntry, UNPROTECTED } from './protection.js';
import { announceOpaque } from './remove.js';
import {
  direntType,
  field,
  newStatBuffer,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../overlay/stat-buffer.js';
import { WHITEOUT_PREFIX } from '../overlay/whiteout.js';

const S_ISGID = 0o2000;
const parentStat = newStatBuffer();
const madeStat = newStatBuffer();
const ownUid = process.geteuid?.() ?? 0;
const ownGid = process.getegid?.() ?? 0;

/** What is to be made. `mode` with its type bits, the umask not yet applied. */
export interface NewObject {
  mode: number;
  rdevMajor: number;
  rdevMinor: number;
  /** Of a symbolic link. */
  target: ByteString;
}

let processUmask = -1;

/**
 * The mask is the process's: it is set when it differs, so that the file system combines it with
 * default ACLs as it should.
 */
function useUmask(mask: number): void {
  if (processUmask === mask) return;
  processUmask = mask;
  sys.umask(mask);
}

/** Makes `name` in `parent`. Throws EEXIST, EROFS, ENOSPC … */
export function create(
  context: UnionContext,
  parent: DirectoryNode,
  name: Name,
  object: NewObject,
  caller: Caller,
  out: Attributes,
): NodeId {
  const directory = placeFor(context, parent, name);
  const upper = writableUpper(context);
  let fd: number;
  let overWhiteout =
    upper.reservesMarkers &&
    directory.stat((WHITEOUT_PREFIX + name) as ByteString, parentStat, 0) >= 0;
  if (overWhiteout) fd = createAside(context, directory, name, object, caller, 'whiteout');
  else {
    if (isOwn(context, caller)) {
      useUmask(caller.umask);
      fd = make(context, directory.fd(), name, object);
    } else fd = createAside(context, directory, name, object, caller, 'nothing');
    // What stands there is not visible in the union: a whiteout.
    if (fd === -E.EEXIST && parent.stack.length > 1) {
      overWhiteout = true;
      fd = createAside(context, directory, name, object, caller, 'whiteout');
    }
    check(fd, name);
  }
  let node: Node;
  try {
    node = adopt(context, parent, directory, name, overWhiteout);
  } catch (error) {
    if (fd > 0) sys.close(fd);
    unmake(context, directory, name, (object.mode & S_IFMT) === S_IFDIR, overWhiteout);
    throw error;
  }
  if (fd > 0) context.files.put(node, fd, true);
  if (overWhiteout && node.isDirectory()) announceOpaque(context, parent, name);
  fillAttributes(context, node, context.stat, 0, out);
  node.lookups++;
  return node.id;
}

/** Takes back what was made, as far as it can be: nobody was told of it. */
function unmake(
  context: UnionContext,
  directory: DiskDirectory,
  name: Name,
  isDirectory: boolean,
  overWhiteout: boolean,
): void {
  const upper = writableUpper(context);
  try {
    if (overWhiteout) upper.replaceByWhiteout(directory, name, isDirectory);
    else upper.remove(directory, name, isDirectory);
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
  }
}

/** The parent's upper directory, where `name` may be made. */
function placeFor(context: UnionContext, parent: DirectoryNode, name: Name): DiskDirectory {
  const upper = writableUpper(context);
  upper.refuseMarker(name);
  readyForChange(context, parent);
  // In a directory of the upper alone the file system itself refuses a name that is taken.
  if (!parent.pureUpper && findDentry(context, parent, name) !== null)
    throw new Errno(E.EEXIST, name);
  refuseEntry(parent);
  return upperDirectory(context, parent);
}

/** Makes the object itself. Returns the descriptor of a regular file, 0 for others, `-errno`. */
function make(context: UnionContext, dirfd: number, name: Name, object: NewObject): number {
  const type = object.mode & S_IFMT;
  const inXattr = context.ownership.override !== undefined;
  const mode = inXattr ? (type === S_IFDIR ? 0o700 : 0o600) : object.mode & 0o7777;
  switch (type) {
    case S_IFDIR:
      return sys.mkdirat(dirfd, name, mode);
    case S_IFLNK:
      return sys.symlinkat(object.target, dirfd, name);
    case S_IFREG:
      return sys.openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    default: {
      if (!inXattr)
        return sys.mknodat(dirfd, name, type | mode, object.rdevMajor, object.rdevMinor);
      const fd = sys.openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
      if (fd >= 0) sys.close(fd);
      return Math.min(fd, 0);
    }
  }
}

/** Whether what this process makes belongs to the caller at once. */
function isOwn(context: UnionContext, caller: Caller): boolean {
  const ownership = context.ownership;
  if (ownership.override !== undefined) return false;
  const { uid, gid } = ownership.maker(caller);
  return uid === ownUid && gid === ownGid;
}

/** Gives a new object, made in the place `directory`, the caller as its owner. */
function own(
  context: UnionContext,
  directory: DiskDirectory,
  dirfd: number,
  name: ByteString,
  object: NewObject,
  caller: Caller,
): void {
  if (isOwn(context, caller)) return;
  const ownership = context.ownership;
  const { uid, gid } = ownership.maker(caller);
  check(directory.stat('' as ByteString, parentStat, 0), 'stat');
  const inherits = (field(parentStat, 0, StatField.Mode) & S_ISGID) !== 0;
  if (ownership.override !== undefined) {
    const isDirectory = (object.mode & S_IFMT) === S_IFDIR;
    const mode = (object.mode & ~caller.umask) | (inherits && isDirectory ? S_ISGID : 0);
    const group = inherits ? field(parentStat, 0, StatField.Gid) : gid;
    ownership.describe(dirfd, name, mode, uid, group, object.rdevMajor, object.rdevMinor);
    return;
  }
  check(sys.fchownat(dirfd, name, uid, inherits ? 0xffffffff : gid), 'chown');
  // chown(2) took the set-id bits of a non-directory away. Its permissions are what umask or a
  // default ACL have left of those asked for.
  const type = object.mode & S_IFMT;
  if ((object.mode & 0o6000) === 0 || type === S_IFDIR || type === S_IFLNK) return;
  check(sys.statx(dirfd, name, madeStat, 0), 'stat');
  check(
    sys.fchmodat(
      dirfd,
      name,
      (field(madeStat, 0, StatField.Mode) & 0o777) | (object.mode & 0o7000),
    ),
    'chmod',
  );
}

/**
 * Makes the object in the workdir, as it would have come out in `directory`, and puts it over the
 * whiteout, or where nothing is (-EEXIST if something is). Returns as `make`.
 */
function createAside(
  context: UnionContext,
  directory: DiskDirectory,
  name: Name,
  object: NewObject,
  caller: Caller,
  over: 'whiteout' | 'nothing',
): number {
  const upper = writableUpper(context);
  const type = object.mode & S_IFMT;
  const temporary = upper.temporaryName();
  const work = upper.work.fd();
  check(directory.stat('' as ByteString, parentStat, 0), 'stat');
  const inherits = (field(parentStat, 0, StatField.Mode) & S_ISGID) !== 0;
  const group = field(parentStat, 0, StatField.Gid);
  const defaultAcl =
    context.options.acl && type !== S_IFLNK
      ? readXattr(directory, '' as ByteString, ACL_DEFAULT)
      : -E.ENODATA;
  const inherited =
    typeof defaultAcl === 'number' ? undefined : inheritAcl(defaultAcl, object.mode & 0o777);
  let permissions =
    inherited === undefined ? object.mode & ~caller.umask : (object.mode & ~0o777) | inherited.mode;
  if (inherits && type === S_IFDIR) permissions |= S_ISGID;

  useUmask(0);
  const fd = check(make(context, work, temporary, object), name);
  try {
    const maker = context.ownership.maker(caller);
    const uid = maker.uid;
    const gid = inherits ? group : maker.gid;
    if (context.ownership.override !== undefined) {
      context.ownership.describe(
        work,
        temporary,
        type | (permissions & 0o7777),
        uid,
        gid,
        object.rdevMajor,
        object.rdevMinor,
      );
    } else {
      if (uid !== ownUid || gid !== ownGid) check(sys.fchownat(work, temporary, uid, gid), 'chown');
      if (type !== S_IFLNK) check(sys.fchmodat(work, temporary, permissions & 0o7777), 'chmod');
    }
    if (inherited !== undefined && inherited.access !== null)
      check(sys.setxattrat(work, temporary, ACL_ACCESS, inherited.access, 0), 'acl');
    if (type === S_IFDIR) {
      if (typeof defaultAcl !== 'number')
        check(sys.setxattrat(work, temporary, ACL_DEFAULT, defaultAcl, 0), 'acl');
      if (over === 'whiteout') upper.setOpaque(upper.work, temporary);
    }
    if (over === 'nothing') {
      const taken = upper.publishUnlessTaken(temporary, directory, name);
      if (taken && fd > 0) sys.close(fd);
      return taken ? -E.EEXIST : fd;
    }
    if (type === S_IFDIR) upper.publishOverWhiteout(temporary, directory, name);
    else upper.publish(temporary, directory, name);
    upper.clearMarker(directory, name);
  } catch (error) {
    upper.discard(temporary);
    if (fd > 0) sys.close(fd);
    throw error;
  }
  return fd;
}

/** The node of an object just made; its attributes are left in `context.stat`. */
function adopt(
  context: UnionContext,
  parent: DirectoryNode,
  directory: DiskDirectory,
  name: Name,
  overWhiteout: boolean,
): Node {
  const stat = context.stat;
  check(directory.stat(name, stat, 0), name);
  const mode = field(stat, 0, StatField.Mode);
  const dentry = new Dentry(parent, name, direntType(mode), directory);
  dentry.covers = overWhiteout ? undefined : false;
  const ino = context.inodes.of(directory, name, stat, 0);
  let node: Node;
  if ((mode & S_IFMT) === S_IFDIR) {
    const made = new DirectoryNode(ino, [directory.descend(name)]);
    made.complete = true;
    node = made;
  } else node = new Node(ino, mode & S_IFMT, directory, name);
  node.data = null;
  node.protection = UNPROTECTED;
  dentry.ino = ino;
  addToDirectory(parent, dentry);
  node.dentries.push(dentry);
  dentry.node = node;
  context.nodes.add(node);
  return node;
}

/** An unnamed file in the upper's file system, which `link` may name. */
export function tmpfile(
  context: UnionContext,
  parent: DirectoryNode,
  mode: number,
  caller: Caller,
  out: Attributes,
): NodeId {
  refuseEntry(parent);
  const directory = upperDirectory(context, parent);
  useUmask(caller.umask);
  const object = {
    mode: S_IFREG | (mode & 0o7777),
    rdevMajor: 0,
    rdevMinor: 0,
    target: '' as ByteString,
  };
  const made = context.ownership.override === undefined ? mode & 0o7777 : 0o600;
  const fd = check(
    sys.openat(directory.fd(), '.' as ByteString, O_TMPFILE | O_RDWR | O_CLOEXEC, made),
    'tmpfile',
  );
  try {
    own(context, directory, fd, '' as ByteString, object, caller);
    check(sys.statx(fd, '' as ByteString, context.stat, 0), 'stat');
  } catch (error) {
    sys.close(fd);
    throw error;
  }
  const device = context.devices.ofOpen(fd, context.stat);
  const ino = numberOn(
    device,
    field(context.stat, 0, StatField.InoLow),
    field(context.stat, 0, StatField.InoHigh),
  );
  const node = new Node(ino, S_IFREG, directory, '' as Name);
  node.data = null;
  node.protection = UNPROTECTED;
  node.orphanFd = fd;
  node.lookups = 1;
  context.nodes.add(node);
  getattr(context, node, out);
  return node.id;
}

/** One more name for a node that is no directory. */
export function link(
  context: UnionContext,
  node: Node,
  parent: DirectoryNode,
  name: Name,
  caller: Caller,
  out: Attributes,
): Awaitable<void> {
  if (node.isDirectory()) throw new Errno(E.EPERM, 'a directory has one name');
  writableUpper(context);
  refuseChange(node);
  refuseEntry(parent);
  return after(copyUp(context, node, caller), () => {
    const directory = placeFor(context, parent, name);
    const upper = writableUpper(context);
    check(statNode(node, context.stat), name);
    if (node.ino !== numberInUpper(context, node)) markImpure(context, parent, directory);
    if (node.links?.indexed === true) context.index?.recordNode(node.links, 'U');
    const result = tryLinkNode(node, directory, name);
    let overWhiteout = false;
    if (result === -E.EEXIST && parent.stack.length > 1) {
      overWhiteout = true;
      const temporary = upper.temporaryName();
      linkNode(node, upper.work, temporary);
      upper.publish(temporary, directory, name);
    } else check(result, name);
    upper.clearMarker(directory, name);

    const dentry = new Dentry(parent, name, direntType(node.type), directory);
    dentry.covers = overWhiteout ? undefined : false;
    dentry.ino = node.ino;
    addToDirectory(parent, dentry);
    context.nodes.attach(dentry, node);
    if (node.orphanFd >= 0) {
      // An O_TMPFILE got its name: it can be reached by that from now on.
      sys.close(node.orphanFd);
      node.orphanFd = -1;
      node.holder = directory;
      node.name = name;
    }
    // The name is there, whatever becomes of the answer: without new attributes the former ones do,
    // but for the count.
    if (statNode(node, context.stat) < 0)
      context.stat[StatField.Nlink] = field(context.stat, 0, StatField.Nlink) + 1;
    rememberLinks(context, node);
    fillAttributes(context, node, context.stat, 0, out);
    node.lookups++;
  });
}

/** That of the object in the upper, whose attributes are in `context.stat`. */
function numberInUpper({ devices, stat }: UnionContext, node: Node): number {
  const device =
    node.orphanFd >= 0
      ? devices.ofOpen(node.orphanFd, stat)
      : devices.of(node.holder, node.name, stat, 0);
  return numberOn(device, field(stat, 0, StatField.InoLow), field(stat, 0, StatField.InoHigh));
}

/**
 * The node has several names in the upper now: another lookup must find this node under each of
 * them.
 */
function rememberLinks(context: UnionContext, node: Node): void {
  if (node.links !== null || field(context.stat, 0, StatField.Nlink) < 2) return;
  node.links = new LinkGroup(node, node.holder, node.name, context.stat, 0, 0);
  context.links.add(node.links);
}
