/**
 * A file system for tests: names and attributes in memory, data in files of a directory of the
 * host.
 */
import { closeSync, fstatSync, ftruncateSync, fsyncSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { E, Errno } from '../../src/base/errno.js';
import type { ByteString, Name } from '../../src/base/bytes.js';
import type { Awaitable } from '../../src/base/awaitable.js';
import { Attributes, NO_NODE } from '../../src/vfs/filesystem.js';
import type {
  AttributeChange,
  Caller,
  DirectorySink,
  FileSystem,
  FileSystemStatistics,
  FileSystemUsage,
  Host,
  NodeId,
} from '../../src/vfs/filesystem.js';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

interface Node {
  readonly id: NodeId;
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  lookups: number;
  parent: Node | null;
  rdev: [number, number];
  readonly children: Map<string, Node>;
  readonly xattrs: Map<string, Uint8Array>;
  target: ByteString;
  fd: number;
  mtime: [number, number];
  atime: [number, number];
}

export class MemoryFileSystem implements FileSystem {
  /** The calls, in order: name and what identifies it. */
  readonly calls: string[] = [];
  callers: Caller[] = [];
  host: Host | null = null;
  destroyed = 0;
  /** Called before every operation; a promise makes the operation wait, a throw makes it fail. */
  before: (operation: string) => Awaitable<void> = () => undefined;

  readonly directory: string;
  readonly #nodes = new Map<number, Node>();
  #next = 2;

  /** `directory`: where the data goes. */
  constructor(directory: string) {
    this.directory = directory;
    this.#nodes.set(1, this.#make(1 as NodeId, S_IFDIR | 0o755, null));
  }

  attach(host: Host): void {
    this.host = host;
  }

  #make(id: NodeId, mode: number, parent: Node | null): Node {
    const time: [number, number] = [1_700_000_000, 5];
    const directory = (mode & S_IFMT) === S_IFDIR;
    const fd = (mode & S_IFMT) === S_IFREG ? openSync(join(this.directory, String(id)), 'w+') : -1;
    return {
      id,
      mode,
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
      nlink: directory ? 2 : 1,
      lookups: 0,
      parent,
      rdev: [0, 0],
      children: new Map(),
      xattrs: new Map(),
      target: '' as ByteString,
      fd,
      mtime: time,
      atime: time,
    };
  }

  #node(id: NodeId): Node {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new Errno(E.ESTALE);
    return node;
  }

  #child(parent: NodeId, name: string): Node {
    const child = this.#node(parent).children.get(name);
    if (child === undefined) throw new Errno(E.ENOENT);
    return child;
  }

  #fill(node: Node, out: Attributes): void {
    out.ino = node.id;
    out.mode = node.mode;
    out.nlink = node.nlink;
    out.uid = node.uid;
    out.gid = node.gid;
    [out.rdevMajor, out.rdevMinor] = node.rdev;
    out.size = node.fd >= 0 ? fstatSync(node.fd).size : node.target.length;
    out.blocks = Math.ceil(out.size / 512);
    out.blksize = 4096;
    [out.atimeSec, out.atimeNsec] = node.atime;
    [out.mtimeSec, out.mtimeNsec] = node.mtime;
    [out.ctimeSec, out.ctimeNsec] = node.mtime;
  }

  /** Runs `operation`, possibly later. */
  #do<T>(name: string, what: string, operation: () => T): Awaitable<T> {
    this.calls.push(`${name} ${what}`);
    const wait = this.before(name);
    return wait instanceof Promise ? wait.then(operation) : operation();
  }

  #add(parent: NodeId, name: string, mode: number, caller: Caller, out: Attributes): Node {
    const directory = this.#node(parent);
    if (directory.children.has(name)) throw new Errno(E.EEXIST);
    const node = this.#make(this.#next++ as NodeId, mode & ~caller.umask, directory);
    node.uid = caller.uid;
    node.gid = caller.gid;
    directory.children.set(name, node);
    this.#nodes.set(node.id, node);
    this.callers.push(caller);
    return this.#looked(node, out);
  }

  #looked(node: Node, out: Attributes): Node {
    node.lookups++;
    this.#fill(node, out);
    return node;
  }

  lookups(id: number): number {
    return this.#nodes.get(id)?.lookups ?? 0;
  }

  lookup(parent: NodeId, name: Name, out: Attributes): Awaitable<NodeId> {
    return this.#do('lookup', `${parent} ${name}`, () => {
      const child = this.#node(parent).children.get(name);
      return child === undefined ? NO_NODE : this.#looked(child, out).id;
    });
  }

  forget(node: NodeId, count: number): void {
    this.calls.push(`forget ${node} ${count}`);
    const found = this.#nodes.get(node);
    if (found === undefined) return;
    found.lookups -= count;
    if (found.lookups === 0 && found.nlink === 0) {
      this.host?.descriptors.retire(node);
      if (found.fd >= 0) closeSync(found.fd);
      this.#nodes.delete(node);
    }
  }

  getattr(node: NodeId, out: Attributes): Awaitable<void> {
    return this.#do('getattr', String(node), () => {
      this.#fill(this.#node(node), out);
    });
  }

  setattr(node: NodeId, change: AttributeChange, caller: Caller, out: Attributes): Awaitable<void> {
    return this.#do('setattr', `${node} ${JSON.stringify(change)}`, () => {
      this.callers.push(caller);
      const found = this.#node(node);
      if (change.mode !== undefined) found.mode = (found.mode & S_IFMT) | change.mode;
      if (change.uid !== undefined) found.uid = change.uid;
      if (change.gid !== undefined) found.gid = change.gid;
      if (change.size !== undefined) ftruncateSync(found.fd, change.size);
      if (change.atime !== undefined && change.atime !== 'now')
        found.atime = [change.atime.sec, change.atime.nsec];
      if (change.mtime !== undefined && change.mtime !== 'now')
        found.mtime = [change.mtime.sec, change.mtime.nsec];
      this.#fill(found, out);
    });
  }

  readlink(node: NodeId): Awaitable<ByteString> {
    return this.#do('readlink', String(node), () => this.#node(node).target);
  }

  mknod(
    parent: NodeId,
    name: Name,
    mode: number,
    major: number,
    minor: number,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId> {
    return this.#do('mknod', `${parent} ${name} ${mode.toString(8)} ${major}:${minor}`, () => {
      const node = this.#add(parent, name, mode, caller, out);
      node.rdev = [major, minor];
      this.#fill(node, out);
      return node.id;
    });
  }

  mkdir(
    parent: NodeId,
    name: Name,
    mode: number,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId> {
    return this.#do(
      'mkdir',
      `${parent} ${name} ${mode.toString(8)}`,
      () => this.#add(parent, name, S_IFDIR | mode, caller, out).id,
    );
  }

  symlink(
    parent: NodeId,
    name: Name,
    target: ByteString,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId> {
    return this.#do('symlink', `${parent} ${name} ${target}`, () => {
      const node = this.#add(parent, name, S_IFLNK | 0o777, caller, out);
      node.target = target;
      this.#fill(node, out);
      return node.id;
    });
  }

  link(
    node: NodeId,
    newParent: NodeId,
    newName: Name,
    caller: Caller,
    out: Attributes,
  ): Awaitable<void> {
    return this.#do('link', `${node} ${newParent} ${newName}`, () => {
      this.callers.push(caller);
      const found = this.#node(node);
      this.#node(newParent).children.set(newName, found);
      found.nlink++;
      this.#looked(found, out);
    });
  }

  tmpfile(parent: NodeId, mode: number, caller: Caller, out: Attributes): Awaitable<NodeId> {
    return this.#do('tmpfile', `${parent} ${mode.toString(8)}`, () => {
      const node = this.#make(this.#next++ as NodeId, mode & ~caller.umask, null);
      node.nlink = 0;
      this.#nodes.set(node.id, node);
      return this.#looked(node, out).id;
    });
  }

  #remove(parent: NodeId, name: string): void {
    const child = this.#child(parent, name);
    if (child.children.size > 0) throw new Errno(E.ENOTEMPTY);
    this.#node(parent).children.delete(name);
    child.nlink = (child.mode & S_IFMT) === S_IFDIR ? 0 : child.nlink - 1;
  }

  unlink(parent: NodeId, name: Name): Awaitable<void> {
    return this.#do('unlink', `${parent} ${name}`, () => {
      this.#remove(parent, name);
    });
  }

  rmdir(parent: NodeId, name: Name): Awaitable<void> {
    return this.#do('rmdir', `${parent} ${name}`, () => {
      this.#remove(parent, name);
    });
  }

  rename(
    parent: NodeId,
    name: Name,
    newParent: NodeId,
    newName: Name,
    flags: number,
  ): Awaitable<void> {
    return this.#do('rename', `${parent} ${name} ${newParent} ${newName} ${flags}`, () => {
      const child = this.#child(parent, name);
      this.#node(parent).children.delete(name);
      this.#node(newParent).children.set(newName, child);
      child.parent = this.#node(newParent);
    });
  }

  openFile(node: NodeId, write: boolean): Awaitable<number> {
    return this.#do('openFile', `${node} ${write}`, () => {
      const found = this.#node(node);
      if (found.fd < 0) throw new Errno(E.EISDIR);
      const fd = openSync(`/proc/self/fd/${found.fd}`, 'r+');
      this.host?.descriptors.publish(node, fd, write);
      return fd;
    });
  }

  /** Nodes for which `backingFile` has no final file, as for lower files. */
  readonly movable = new Set<NodeId>();

  backingFile(node: NodeId, write: boolean): Awaitable<number> {
    return this.#do('backingFile', `${node} ${write}`, () =>
      this.movable.has(node) ? -1 : this.#node(node).fd,
    );
  }

  killSetId(node: NodeId): void {
    this.calls.push(`killSetId ${node}`);
  }

  fsync(node: NodeId, dataOnly: boolean): Awaitable<void> {
    return this.#do('fsync', `${node} ${dataOnly}`, () => {
      const { fd } = this.#node(node);
      if (fd >= 0) fsyncSync(fd);
    });
  }

  fallocate(node: NodeId, mode: number, offset: number, length: number): Awaitable<void> {
    return this.#do('fallocate', `${node} ${mode} ${offset} ${length}`, () => undefined);
  }

  lseek(node: NodeId, offset: number, whence: number): Awaitable<number> {
    return this.#do('lseek', `${node} ${offset} ${whence}`, () => offset);
  }

  copyFileRange(
    from: NodeId,
    fromOffset: number,
    to: NodeId,
    toOffset: number,
    length: number,
  ): Awaitable<number> {
    return this.#do('copyFileRange', `${from} ${fromOffset} ${to} ${toOffset} ${length}`, () => {
      throw new Errno(E.EOPNOTSUPP);
    });
  }

  readdir(node: NodeId, cookie: number, plus: boolean, sink: DirectorySink): Awaitable<void> {
    return this.#do('readdir', `${node} ${cookie} ${plus}`, () => {
      const directory = this.#node(node);
      const entries: [string, Node][] = [
        ['.', directory],
        ['..', directory.parent ?? directory],
        ...directory.children,
      ];
      for (let i = cookie; i < entries.length; i++) {
        const [name, child] = entries[i] as [string, Node];
        const type = (child.mode & S_IFMT) >>> 12;
        if (plus && i >= 2) {
          const { out } = this;
          this.#fill(child, out);
          if (
            !sink.fits(name.length) ||
            !sink.entryPlus(name as ByteString, child.id, out, type, i + 1)
          )
            return;
          child.lookups++;
        } else if (!sink.entry(name as ByteString, child.id, type, i + 1)) return;
      }
    });
  }

  readonly out = new Attributes();

  fsyncdir(node: NodeId, dataOnly: boolean): Awaitable<void> {
    return this.#do('fsyncdir', `${node} ${dataOnly}`, () => undefined);
  }

  syncfs(): Awaitable<void> {
    return this.#do('syncfs', '', () => undefined);
  }

  statfs(out: FileSystemStatistics): Awaitable<void> {
    return this.#do('statfs', '', () => {
      Object.assign(out, {
        bsize: 4096,
        frsize: 4096,
        blocks: 2 ** 40,
        bfree: 6,
        bavail: 5,
        files: 4,
        ffree: 3,
        namelen: 255,
      });
    });
  }

  getxattr(node: NodeId, name: ByteString): Awaitable<Uint8Array | null> {
    return this.#do('getxattr', `${node} ${name}`, () => this.#node(node).xattrs.get(name) ?? null);
  }

  listxattr(node: NodeId): Awaitable<Uint8Array> {
    return this.#do('listxattr', String(node), () =>
      Buffer.from(
        [...this.#node(node).xattrs.keys()].map((name) => `${name}\0`).join(''),
        'latin1',
      ),
    );
  }

  setxattr(
    node: NodeId,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    killSetGid: boolean,
  ): Awaitable<void> {
    return this.#do('setxattr', `${node} ${name} ${value.length} ${flags} ${killSetGid}`, () => {
      this.#node(node).xattrs.set(name, Uint8Array.from(value));
    });
  }

  removexattr(node: NodeId, name: ByteString): Awaitable<void> {
    return this.#do('removexattr', `${node} ${name}`, () => {
      if (!this.#node(node).xattrs.delete(name)) throw new Errno(E.ENODATA);
    });
  }

  appended(node: NodeId): void {
    this.#node(node);
  }

  getFlags(node: NodeId, extended: boolean, value: Uint8Array): Awaitable<void> {
    return this.#do('getFlags', `${node} ${extended}`, () => void value.fill(7));
  }

  setFlags(node: NodeId, extended: boolean, value: Uint8Array): Awaitable<void> {
    return this.#do(
      'setFlags',
      `${node} ${extended} ${Buffer.from(value).toString('hex')}`,
      () => undefined,
    );
  }

  usage(): FileSystemUsage {
    return { nodes: this.#nodes.size, descriptors: 0 };
  }

  destroy(): void {
    this.destroyed++;
    for (const node of this.#nodes.values()) if (node.fd >= 0) closeSync(node.fd);
    this.#nodes.clear();
  }
}
