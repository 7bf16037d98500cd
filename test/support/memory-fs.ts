/**
 * A file system for tests of what serves one: names and attributes in memory, data in files of a
 * scratch directory.
 *
 * It is strict about the contract: a node that was forgotten is gone, forgetting more than was
 * looked up throws, and `counts` says what is still held. Like a union it publishes a read-only
 * descriptor until the first write.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { bytesOf, type ByteString, type Name } from '../../src/base/bytes.js';
import { E, Errno } from '../../src/base/errno.js';
import {
  NO_NODE,
  ROOT_NODE,
  type AttributeChange,
  type Attributes,
  type Caller,
  type DirectorySink,
  type FileSystem,
  type FileSystemStatistics,
  type FileSystemUsage,
  type Host,
  type NodeId,
  type TimeChange,
} from '../../src/vfs/filesystem.js';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

interface Time {
  sec: number;
  nsec: number;
}

class MemoryNode {
  readonly id: NodeId;
  mode: number;
  nlink = 1;
  uid = 0;
  gid = 0;
  rdevMajor = 0;
  rdevMinor = 0;
  target = '' as ByteString;
  readonly entries = new Map<ByteString, MemoryNode>();
  readonly xattrs = new Map<ByteString, Uint8Array>();
  parent: MemoryNode = this;
  atime: Time = { sec: 0, nsec: 0 };
  mtime: Time = { sec: 0, nsec: 0 };

  constructor(id: NodeId, mode: number) {
    this.id = id;
    this.mode = mode;
  }

  get isDirectory(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR;
  }
}

export class MemoryFileSystem implements FileSystem {
  readonly root = new MemoryNode(ROOT_NODE, S_IFDIR | 0o755);
  /** Lookup counts of what is not forgotten, the root left out. */
  readonly counts = new Map<NodeId, number>();
  /** What was asked, in order: `openFile 3 write`. */
  readonly calls: string[] = [];
  destroyed = false;
  /** Runs before each operation on a name; may throw, or return a promise to be waited for. */
  hook: (operation: string, name: ByteString) => Promise<void> | void = () => undefined;
  readonly #directory: string;
  readonly #nodes = new Map<NodeId, MemoryNode>([[ROOT_NODE, this.root]]);
  #nextId = 2;
  #host: Host | null = null;

  /** `directory` holds the files' data. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  attach(host: Host): void {
    this.#host = host;
  }

  async lookup(parent: NodeId, name: Name, out: Attributes): Promise<NodeId> {
    await this.hook('lookup', name);
    const node = this.#dir(parent).entries.get(name);
    return node === undefined ? NO_NODE : this.#held(node, out);
  }

  forget(node: NodeId, count: number): void {
    const left = (this.counts.get(node) ?? 0) - count;
    if (left < 0) throw new RangeError(`node ${node} was forgotten more often than looked up`);
    if (left > 0) {
      this.counts.set(node, left);
      return;
    }
    this.counts.delete(node);
    this.#host?.descriptors.retire(node);
  }

  getattr(node: NodeId, out: Attributes): void {
    this.#fill(this.#node(node), out);
  }

  setattr(id: NodeId, change: AttributeChange, _caller: Caller, out: Attributes): void {
    const node = this.#node(id);
    if (change.mode !== undefined) node.mode = (node.mode & S_IFMT) | change.mode;
    if (change.uid !== undefined) node.uid = change.uid;
    if (change.gid !== undefined) node.gid = change.gid;
    if (change.size !== undefined) this.#withData(node, (fd) => ftruncateSync(fd, change.size));
    if (change.atime !== undefined) node.atime = timeOf(change.atime);
    if (change.mtime !== undefined) node.mtime = timeOf(change.mtime);
    this.#fill(node, out);
  }

  readlink(node: NodeId): ByteString {
    return this.#node(node).target;
  }

  mknod(
    parent: NodeId,
    name: Name,
    mode: number,
    major: number,
    minor: number,
    caller: Caller,
    out: Attributes,
  ): Promise<NodeId> {
    return this.#make(parent, name, mode, caller, out, (node) => {
      node.rdevMajor = major;
      node.rdevMinor = minor;
    });
  }

  mkdir(
    parent: NodeId,
    name: Name,
    mode: number,
    caller: Caller,
    out: Attributes,
  ): Promise<NodeId> {
    return this.#make(parent, name, S_IFDIR | mode, caller, out, (node) => (node.nlink = 2));
  }

  symlink(
    parent: NodeId,
    name: Name,
    target: ByteString,
    caller: Caller,
    out: Attributes,
  ): Promise<NodeId> {
    return this.#make(parent, name, S_IFLNK | 0o777, caller, out, (node) => (node.target = target));
  }

  link(id: NodeId, newParent: NodeId, newName: Name, _caller: Caller, out: Attributes): void {
    const node = this.#node(id);
    const directory = this.#dir(newParent);
    if (directory.entries.has(newName)) throw new Errno(E.EEXIST);
    directory.entries.set(newName, node);
    node.nlink++;
    this.#held(node, out);
  }

  tmpfile(): never {
    throw new Errno(E.EOPNOTSUPP);
  }

  async unlink(parent: NodeId, name: Name): Promise<void> {
    await this.hook('unlink', name);
    this.#entry(parent, name).nlink--;
    this.#dir(parent).entries.delete(name);
  }

  rmdir(parent: NodeId, name: Name): void {
    if (this.#entry(parent, name).entries.size > 0) throw new Errno(E.ENOTEMPTY);
    this.#dir(parent).entries.delete(name);
  }

  async rename(
    parent: NodeId,
    name: Name,
    newParent: NodeId,
    newName: Name,
    flags: number,
  ): Promise<void> {
    await this.hook('rename', name);
    if (flags !== 0) throw new Errno(E.EINVAL);
    const node = this.#entry(parent, name);
    const former = this.#dir(newParent).entries.get(newName);
    if (former !== undefined && former.entries.size > 0) throw new Errno(E.ENOTEMPTY);
    if (former !== undefined) former.nlink--;
    this.#dir(parent).entries.delete(name);
    this.#dir(newParent).entries.set(newName, node);
    node.parent = this.#dir(newParent);
  }

  openFile(id: NodeId, write: boolean): number {
    this.calls.push(`openFile ${id} ${write ? 'write' : 'read'}`);
    const fd = openSync(this.#path(this.#node(id)), write ? constants.O_RDWR : constants.O_RDONLY);
    this.#host?.descriptors.publish(id, fd, write);
    return fd;
  }

  backingFile(id: NodeId, write: boolean): number {
    return this.openFile(id, write);
  }

  killSetId(): void {
    // Nothing runs files here.
  }

  fsync(node: NodeId): void {
    this.calls.push(`fsync ${node}`);
  }

  fallocate(): never {
    throw new Errno(E.EOPNOTSUPP);
  }

  lseek(): never {
    throw new Errno(E.EOPNOTSUPP);
  }

  copyFileRange(): never {
    throw new Errno(E.EOPNOTSUPP);
  }

  readdir(id: NodeId, cookie: number, _plus: boolean, sink: DirectorySink): void {
    const directory = this.#dir(id);
    const all: [ByteString, MemoryNode][] = [
      [bytesOf('.'), directory],
      [bytesOf('..'), directory.parent],
      ...directory.entries,
    ];
    for (const [index, [name, node]] of all.entries()) {
      if (index >= cookie && !sink.entry(name, node.id, node.mode >>> 12, index + 1)) return;
    }
  }

  fsyncdir(node: NodeId): void {
    this.calls.push(`fsyncdir ${node}`);
  }

  syncfs(): void {
    // Memory has no disk.
  }

  appended(): void {
    return;
  }

  getFlags(): void {
    throw new Errno(E.ENOTTY);
  }

  setFlags(): void {
    throw new Errno(E.ENOTTY);
  }

  statfs(out: FileSystemStatistics): void {
    // More blocks than 32 bits hold.
    Object.assign(out, {
      bsize: 4096,
      frsize: 4096,
      blocks: 2 ** 34,
      bfree: 2 ** 33,
      bavail: 2 ** 33,
      files: 100,
      ffree: 50,
      namelen: 255,
    });
  }

  getxattr(node: NodeId, name: ByteString): Uint8Array | null {
    return this.#node(node).xattrs.get(name) ?? null;
  }

  listxattr(node: NodeId): Uint8Array {
    return Buffer.from(
      [...this.#node(node).xattrs.keys()].map((name) => `${name}\0`).join(''),
      'latin1',
    );
  }

  setxattr(node: NodeId, name: ByteString, value: Uint8Array, flags: number): void {
    const { xattrs } = this.#node(node);
    if (flags === 1 && xattrs.has(name)) throw new Errno(E.EEXIST);
    if (flags === 2 && !xattrs.has(name)) throw new Errno(E.ENODATA);
    xattrs.set(name, value);
  }

  removexattr(node: NodeId, name: ByteString): void {
    if (!this.#node(node).xattrs.delete(name)) throw new Errno(E.ENODATA);
  }

  usage(): FileSystemUsage {
    return { nodes: this.#nodes.size, descriptors: 0 };
  }

  destroy(): void {
    this.destroyed = true;
  }

  async #make(
    parent: NodeId,
    name: Name,
    mode: number,
    caller: Caller,
    out: Attributes,
    adorn: (node: MemoryNode) => void,
  ): Promise<NodeId> {
    await this.hook('make', name);
    const directory = this.#dir(parent);
    if (directory.entries.has(name)) throw new Errno(E.EEXIST);
    const node = new MemoryNode(this.#nextId++ as NodeId, mode);
    node.uid = caller.uid;
    node.gid = caller.gid;
    node.parent = directory;
    node.atime = node.mtime = timeOf('now');
    adorn(node);
    this.#nodes.set(node.id, node);
    if ((mode & S_IFMT) === S_IFREG) closeSync(openSync(this.#path(node), 'wx+'));
    directory.entries.set(name, node);
    return this.#held(node, out);
  }

  #held(node: MemoryNode, out: Attributes): NodeId {
    this.counts.set(node.id, (this.counts.get(node.id) ?? 0) + 1);
    this.#fill(node, out);
    return node.id;
  }

  /** Throws ESTALE for a node that nobody holds. */
  #node(id: NodeId): MemoryNode {
    const node = this.#nodes.get(id);
    if (node === undefined || (id !== ROOT_NODE && !this.counts.has(id))) throw new Errno(E.ESTALE);
    return node;
  }

  #dir(id: NodeId): MemoryNode {
    const node = this.#node(id);
    if (!node.isDirectory) throw new Errno(E.ENOTDIR);
    return node;
  }

  #entry(parent: NodeId, name: ByteString): MemoryNode {
    const node = this.#dir(parent).entries.get(name);
    if (node === undefined) throw new Errno(E.ENOENT);
    return node;
  }

  #path(node: MemoryNode): string {
    return join(this.#directory, String(node.id));
  }

  #withData<T>(node: MemoryNode, action: (fd: number) => T): T {
    const fd = openSync(this.#path(node), constants.O_RDWR);
    try {
      return action(fd);
    } finally {
      closeSync(fd);
    }
  }

  #fill(node: MemoryNode, out: Attributes): void {
    out.ino = node.id;
    out.mode = node.mode;
    out.nlink = node.nlink;
    out.uid = node.uid;
    out.gid = node.gid;
    out.rdevMajor = node.rdevMajor;
    out.rdevMinor = node.rdevMinor;
    out.size =
      (node.mode & S_IFMT) === S_IFREG
        ? this.#withData(node, (fd) => fstatSync(fd).size)
        : node.target.length;
    out.blocks = Math.ceil(out.size / 512);
    out.blksize = 4096;
    out.atimeSec = node.atime.sec;
    out.atimeNsec = node.atime.nsec;
    out.mtimeSec = out.ctimeSec = node.mtime.sec;
    out.mtimeNsec = out.ctimeNsec = node.mtime.nsec;
  }
}

function timeOf(change: TimeChange): Time {
  if (change !== 'now') return change;
  const now = Date.now();
  return { sec: Math.floor(now / 1000), nsec: (now % 1000) * 1e6 };
}
