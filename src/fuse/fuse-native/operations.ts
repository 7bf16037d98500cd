/**
 * The operations of a path-based file system over the inode-based contract. Each fails by rejecting
 * with `Errno`.
 *
 * Copy-up happens at the first write, as over the native transport: a handle asks for a writable
 * descriptor when it is written to, not when it is opened.
 */
import { read as readCallback, write as writeCallback } from 'node:fs';
import { promisify } from 'node:util';
import type Fuse from 'fuse-native';
import { bytesOf, textOf, type Name } from '../../base/bytes.js';
import { E, Errno } from '../../base/errno.js';
import { S_IFMT, S_IFREG } from '../../sys/constants.js';
import {
  Attributes,
  type Caller,
  type DirectorySink,
  type FileSystem,
  type NodeId,
  type TimeChange,
} from '../../vfs/filesystem.js';
import type { Descriptor, Descriptors } from './descriptors.js';
import { NodePaths } from './node-paths.js';
import { OpenHandles } from './open-handles.js';
import { assertWhole, exactText, storableBytes } from './text.js';

const readAt = promisify(readCallback);
const writeAt = promisify(writeCallback);

const PERMISSIONS = 0o7777;
/** `(uid_t)-1`: leave as it is. */
const UNCHANGED_ID = 0xffff_ffff;
const TWO_32 = 0x1_0000_0000;

export interface Entry {
  readonly name: string;
  readonly stat: Pick<Fuse.Stat, 'mode' | 'ino'>;
}

export class Operations {
  readonly #fileSystem: FileSystem;
  readonly #descriptors: Descriptors;
  readonly paths: NodePaths;
  readonly handles = new OpenHandles();

  constructor(fileSystem: FileSystem, descriptors: Descriptors, maxPaths: number) {
    this.#fileSystem = fileSystem;
    this.#descriptors = descriptors;
    this.paths = new NodePaths(fileSystem, maxPaths);
  }

  async getattr(path: string): Promise<Fuse.Stat> {
    const out = new Attributes();
    (await this.paths.find(path, out)).release();
    return statOf(out);
  }

  async fgetattr(handle: number): Promise<Fuse.Stat> {
    const out = new Attributes();
    await this.#fileSystem.getattr(this.handles.node(handle), out);
    return statOf(out);
  }

  /** The whole directory: libfuse keeps what it got, and asks anew after rewinddir(3). */
  async readdir(path: string): Promise<Entry[]> {
    return this.#at(path, async (node) => {
      const entries: Entry[] = [];
      const sink: DirectorySink = {
        entry: (name, ino, type) => {
          entries.push({ name: textOf(name), stat: { mode: type << 12, ino: foldInode(ino) } });
          return true;
        },
        entryPlus: () => false,
        fits: () => true,
      };
      await this.#fileSystem.readdir(node, 0, false, sink);
      return entries;
    });
  }

  async readlink(path: string): Promise<string> {
    return this.#at(path, async (node) => exactText(await this.#fileSystem.readlink(node)));
  }

  async mknod(path: string, mode: number, device: number): Promise<void> {
    const major = (device >>> 8) & 0xfff;
    const minor = (device & 0xff) | ((device >>> 12) & 0xfff00);
    await this.#make(path, (parent, name, out) =>
      this.#fileSystem.mknod(parent, name, mode, major, minor, caller(), out),
    );
  }

  async mkdir(path: string, mode: number): Promise<void> {
    await this.#make(path, (parent, name, out) =>
      this.#fileSystem.mkdir(parent, name, mode & PERMISSIONS, caller(), out),
    );
  }

  async symlink(target: string, path: string): Promise<void> {
    const bytes = storableBytes(target);
    await this.#make(path, (parent, name, out) =>
      this.#fileSystem.symlink(parent, name, bytes, caller(), out),
    );
  }

  async link(from: string, to: string): Promise<void> {
    await this.#at(from, (node) =>
      this.#make(to, async (parent, name, out) => {
        await this.#fileSystem.link(node, parent, name, caller(), out);
        return node;
      }),
    );
  }

  async unlink(path: string): Promise<void> {
    const { parent, name } = await this.paths.place(path);
    try {
      await this.#fileSystem.unlink(parent.node, name, caller());
    } finally {
      parent.release();
      this.paths.changed(path);
    }
  }

  async rmdir(path: string): Promise<void> {
    const { parent, name } = await this.paths.place(path);
    try {
      await this.#fileSystem.rmdir(parent.node, name, caller());
    } finally {
      parent.release();
      this.paths.treeChanged(path);
    }
  }

  async rename(from: string, to: string): Promise<void> {
    assertWhole(to.slice(to.lastIndexOf('/')));
    const source = await this.paths.place(from);
    try {
      const target = await this.paths.place(to);
      try {
        await this.#fileSystem.rename(
          source.parent.node,
          source.name,
          target.parent.node,
          target.name,
          0,
          caller(),
        );
      } finally {
        target.parent.release();
      }
    } finally {
      source.parent.release();
      this.paths.treeChanged(from);
      this.paths.treeChanged(to);
    }
  }

  async chmod(path: string, mode: number): Promise<void> {
    await this.#at(path, (node) =>
      this.#fileSystem.setattr(node, { mode: mode & PERMISSIONS }, caller(), new Attributes()),
    );
  }

  async chown(path: string, uid: number, gid: number): Promise<void> {
    const change = {
      ...(uid === UNCHANGED_ID ? {} : { uid }),
      ...(gid === UNCHANGED_ID ? {} : { gid }),
    };
    await this.#at(path, (node) =>
      this.#fileSystem.setattr(node, change, caller(), new Attributes()),
    );
  }

  async truncate(path: string, size: number): Promise<void> {
    await this.#at(path, (node) =>
      this.#fileSystem.setattr(node, { size }, caller(), new Attributes()),
    );
  }

  async ftruncate(handle: number, size: number): Promise<void> {
    await this.#fileSystem.setattr(this.handles.node(handle), { size }, caller(), new Attributes());
  }

  /** Milliseconds since the epoch; negative before it. */
  async utimens(path: string, atime: number, mtime: number): Promise<void> {
    const change = { atime: timeOf(atime), mtime: timeOf(mtime) };
    await this.#at(path, (node) =>
      this.#fileSystem.setattr(node, change, caller(), new Attributes()),
    );
  }

  async open(path: string): Promise<number> {
    return this.handles.add(await this.paths.find(path));
  }

  async create(path: string, mode: number): Promise<number> {
    try {
      await this.mknod(path, S_IFREG | (mode & PERMISSIONS), 0);
    } catch (error) {
      // The flags are not passed, O_EXCL among them: the kernel has looked the name up just before,
      // and O_EXCL failed there.
      if (!(error instanceof Errno) || error.errno !== E.EEXIST) throw error;
    }
    return this.open(path);
  }

  /** Bytes read, fewer at the end of the file only. */
  async read(handle: number, buffer: Uint8Array, length: number, offset: number): Promise<number> {
    return this.#transfer(
      this.handles.node(handle),
      false,
      async (fd) => (await readAt(fd, buffer, 0, length, offset)).bytesRead,
    );
  }

  /** Bytes written; fewer than asked for when an error came after some. */
  async write(handle: number, buffer: Uint8Array, length: number, offset: number): Promise<number> {
    return this.#transfer(
      this.handles.node(handle),
      true,
      async (fd) => (await writeAt(fd, buffer, 0, length, offset)).bytesWritten,
    );
  }

  async fsync(handle: number, dataOnly: boolean): Promise<void> {
    await this.#fileSystem.fsync(this.handles.node(handle), dataOnly);
  }

  async fsyncdir(path: string, dataOnly: boolean): Promise<void> {
    await this.#at(path, (node) => this.#fileSystem.fsyncdir(node, dataOnly));
  }

  async statfs(): Promise<Fuse.Statfs> {
    const { bsize, frsize, blocks, bfree, bavail, files, ffree, namelen } =
      await this.#statistics();
    // Counts are passed as 32 bits: larger blocks make them fit.
    let scale = 1;
    while (blocks / scale >= TWO_32) scale *= 2;
    const scaled = (count: number) => Math.min(Math.floor(count / scale), TWO_32 - 1);
    const most = (count: number) => Math.min(count, TWO_32 - 1);
    return {
      bsize,
      frsize: frsize * scale,
      blocks: scaled(blocks),
      bfree: scaled(bfree),
      bavail: scaled(bavail),
      files: most(files),
      ffree: most(ffree),
      favail: most(ffree),
      namemax: namelen,
    };
  }

  async getxattr(path: string, name: string): Promise<Uint8Array> {
    const value = await this.#at(path, (node) => this.#fileSystem.getxattr(node, bytesOf(name)));
    if (value === null) throw new Errno(E.ENODATA, name);
    return value;
  }

  async listxattr(path: string): Promise<Uint8Array> {
    return this.#at(path, (node) => this.#fileSystem.listxattr(node, caller()));
  }

  /** The file system may keep `value`. */
  async setxattr(path: string, name: string, value: Uint8Array, flags: number): Promise<void> {
    const bytes = storableBytes(name);
    await this.#at(path, (node) =>
      this.#fileSystem.setxattr(node, bytes, value, flags, false, caller()),
    );
  }

  async removexattr(path: string, name: string): Promise<void> {
    await this.#at(path, (node) => this.#fileSystem.removexattr(node, bytesOf(name), caller()));
  }

  /** The mount is gone: gives everything back to the file system. */
  clear(): void {
    this.handles.clear();
    this.paths.clear();
  }

  async #at<T>(path: string, action: (node: NodeId) => T | Promise<T>): Promise<T> {
    const reference = await this.paths.find(path);
    try {
      return await action(reference.node);
    } finally {
      reference.release();
    }
  }

  async #make(
    path: string,
    make: (parent: NodeId, name: Name, out: Attributes) => NodeId | Promise<NodeId>,
  ): Promise<void> {
    assertWhole(path.slice(path.lastIndexOf('/')));
    const { parent, name } = await this.paths.place(path);
    try {
      this.paths.made(path, await make(parent.node, name, new Attributes()));
    } finally {
      parent.release();
    }
  }

  /**
   * Nothing waits between getting the descriptor and using it: in between it might be retired and
   * closed.
   */
  async #transfer<T>(
    node: NodeId,
    write: boolean,
    transfer: (fd: number) => Promise<T>,
  ): Promise<T> {
    const usable = (descriptor: Descriptor | undefined) =>
      descriptor !== undefined && (descriptor.writable || !write) ? descriptor : null;
    let descriptor = usable(this.#descriptors.get(node));
    if (descriptor === null) {
      await this.#fileSystem.openFile(node, write, caller());
      descriptor = usable(this.#descriptors.get(node));
    }
    if (descriptor === null) throw new Errno(E.EIO, 'no descriptor was published');
    return descriptor.use(transfer);
  }

  async #statistics() {
    const out = {
      bsize: 0,
      frsize: 0,
      blocks: 0,
      bfree: 0,
      bavail: 0,
      files: 0,
      ffree: 0,
      namelen: 0,
    };
    await this.#fileSystem.statfs(out);
    return out;
  }
}

/** The serving user: fuse-native does not say who asks. The kernel has applied the umask. */
function caller(): Caller {
  return {
    uid: process.geteuid?.() ?? 0,
    gid: process.getegid?.() ?? 0,
    pid: 0,
    umask: 0,
    parentGroup: -1,
    interrupted: false,
  };
}

function statOf(from: Attributes): Fuse.Stat {
  return {
    mode: from.mode,
    uid: from.uid,
    gid: from.gid,
    size: from.size,
    dev: 0,
    nlink: from.nlink,
    ino: foldInode(from.ino),
    rdev: deviceOf(from),
    blksize: from.blksize,
    blocks: from.blocks,
    atime: millisecondsOf(from.atimeSec, from.atimeNsec),
    mtime: millisecondsOf(from.mtimeSec, from.mtimeNsec),
    ctime: millisecondsOf(from.ctimeSec, from.ctimeNsec),
  };
}

/** `new_encode_dev` of include/linux/kdev_t.h. */
function deviceOf({ mode, rdevMajor, rdevMinor }: Attributes): number {
  if ((mode & S_IFMT) === S_IFREG) return 0;
  return ((rdevMinor & 0xff) | (rdevMajor << 8) | ((rdevMinor & 0xfff00) << 12)) >>> 0;
}

/**
 * 32 bits: the high ones, where inode numbers of several file systems are told apart, are mixed in
 * and not cut off.
 */
function foldInode(ino: number): number {
  return (Math.imul(Math.floor(ino / TWO_32), 0x9e37_79b1) ^ (ino % TWO_32)) >>> 0;
}

function millisecondsOf(sec: number, nsec: number): number {
  return Math.max(0, sec * 1000 + Math.floor(nsec / 1e6));
}

function timeOf(milliseconds: number): TimeChange {
  const sec = Math.floor(milliseconds / 1000);
  return { sec, nsec: (milliseconds - sec * 1000) * 1e6 };
}
