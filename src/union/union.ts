/**
 * The union file system: layers merged into one tree, the topmost writable.
 *
 * Lookup asks the layers from the top (merge.ts); the first write to a lower file copies it up
 * (copy-up.ts); what is deleted below is hidden by a whiteout (remove.ts). This file opens the
 * layers and puts the parts together behind the contract of src/vfs.
 *
 * Invariants, on which every part relies:
 * - lower layers do not change; the upper and its workdir are changed by this union alone, from one
 *   thread;
 * - a file has one node while the kernel knows it, whatever happens to its names, and one `st_ino`
 *   for ever;
 * - what a step publishes is complete: an upper at any moment is one that the kernel's overlayfs
 *   could mount;
 * - a descriptor obtained from a cache is used before the event loop turns, or duplicated.
 */
import { after, type Awaitable } from '../base/awaitable.js';
import type { ByteString, Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { sys } from '../sys/index.js';
import { FALLOC_FL_KEEP_SIZE } from '../sys/constants.js';
import { StatField } from '../sys/syscalls.js';
import type {
  AttributeChange,
  Attributes,
  Caller,
  DirectorySink,
  FileSystem,
  FileSystemStatistics,
  FileSystemUsage,
  Host,
  NodeId,
} from '../vfs/filesystem.js';
import { NO_NODE, ROOT_NODE } from '../vfs/filesystem.js';
import {
  EXTENTS_AT_ONCE,
  fillAttributes,
  getattr,
  hasSetId,
  killCapability,
  killSetId,
  setattr,
} from './attributes.js';
import { beliefOf, Unbelieved, type Belief } from '../overlay/belief.js';
import { mayKeepSetId } from './caller-rights.js';
import type { UnionContext } from './context.js';
import { adoptLink, copyUp, COPY_AT_ONCE } from './copy-up.js';
import { create, link, tmpfile, type NewObject } from './create.js';
import { dataOf } from './data.js';
import { Devices } from '../overlay/devices.js';
import { DirectoryDescriptors, onDisk } from '../overlay/disk-directory.js';
import { UnionEvents } from './events.js';
import { LinkTable } from './hard-links.js';
import { openIndex } from './inode-index.js';
import { InodeNumbers } from './inode-numbers.js';
import { MAX_LAYERS, UPPER, type Layer, type LayerDirectory } from '../overlay/layer.js';
import {
  describeLayer,
  madeForMountProgram,
  openLayer,
  openUpper,
  refuseMountpoint,
  refuseOverlaps,
  trapsIn,
  rootOf,
  type OpenedDirectory,
} from './layers-on-disk.js';
import { getFlags, setFlags } from './file-flags.js';
import { ListingHabit } from './listing-habit.js';
import { findNode } from './merge.js';
import { CAPABILITY } from './metadata.js';
import { NodeTable } from './node-table.js';
import { DirectoryNode, type Node, statNode } from './node.js';
import { OpenFiles } from './open-files.js';
import type { LayerInUse, UnionOptions } from './options.js';
import { Origins } from './origin.js';
import { OVERRIDE_CONTAINERS, OVERRIDE_PRIVILEGED, xattrAside } from '../overlay/override-stat.js';
import { readMarks } from '../overlay/marks.js';
import { Ownership } from './ownership.js';
import { pathIn, pathOf } from './path.js';
import { protectionOf, refuseWrite, UNPROTECTED } from './protection.js';
import { readdir } from './readdir.js';
import { Reclaimer } from './reclaim.js';
import { rmdir, unlink } from './remove.js';
import { rename } from './rename.js';
import { field, newStatBuffer, S_IFDIR, S_IFLNK, S_IFREG } from '../overlay/stat-buffer.js';
import { tryFeatures } from './upper-features.js';
import { UpperLayer } from './upper-layer.js';
import { prepareWorkdir, sweep, sweepAll } from './workdir.js';
import { whenReady } from './would-wait.js';
import { getxattr, listxattr, removexattr, setxattr } from './xattrs.js';

/** Descriptors of Node, the session and work under way; each layer's root takes one more. */
const OTHER_DESCRIPTORS = 48;
/** What the caches of descriptors cannot do without. */
const LEAST_DESCRIPTORS = 64;
/** Bounds of the caches of descriptors, however many are allowed. */
const MOST_DIRECTORIES = 1024;
const MOST_FILES = 4096;
const linkBuffer = Buffer.alloc(4097);

export interface Union extends FileSystem {
  /** Topmost first. */
  layers(): LayerInUse[];
}

/**
 * How many descriptors the process of a union with so many lower directories comes to hold when it
 * is much used.
 */
export function descriptorsWanted(lowers: number): number {
  const [limit] = sys.getNofile();
  return Math.min(limit, lowers + OTHER_DESCRIPTORS + MOST_DIRECTORIES + MOST_FILES);
}

/**
 * Opens the layers and makes them a file system, which nothing serves yet. `warn` is told in a
 * sentence what the mount will lack. Throws `PlyfsError`, with nothing left open or locked, when
 * the layers cannot be united.
 */
export function openUnion(options: UnionOptions, warn: (sentence: string) => void): Union {
  const opened: OpenedDirectory[] = [];
  const kept = <T extends readonly OpenedDirectory[]>(directories: T): T => {
    opened.push(...directories);
    return directories;
  };
  try {
    if (options.lowers.length === 0)
      throw new PlyfsError(
        'no-lowerdir',
        'no lowerdir: give at least one, as in -o lowerdir=TOP:BOTTOM.',
      );
    if (options.lowers.length > MAX_LAYERS) {
      throw new PlyfsError(
        'too-many-layers',
        `${options.lowers.length} lower directories: a union has at most ${MAX_LAYERS}.`,
      );
    }
    const lowers = options.lowers.map(
      (layer) => kept([openLayer('lowerdir', layer.path)] as const)[0],
    );
    const [upper, work] =
      options.upper === undefined
        ? [null, null]
        : kept(openUpper(options.upper.path, options.upper.work));
    if (upper !== null) refuseOverlaps(lowers, upper, work);
    if (options.mountpoint !== undefined) refuseMountpoint(options.mountpoint, lowers, upper);
    return new UnionFileSystem(assemble(options, lowers, upper, work, warn), work?.fd ?? -1);
  } catch (error) {
    for (const directory of opened) sys.close(directory.fd);
    throw error;
  }
}

function assemble(
  options: UnionOptions,
  lowers: readonly OpenedDirectory[],
  upper: OpenedDirectory | null,
  work: OpenedDirectory | null,
  warn: (sentence: string) => void,
): UnionContext {
  const [limit] = sys.getNofile();
  const left = limit - lowers.length - OTHER_DESCRIPTORS;
  if (left < LEAST_DESCRIPTORS) {
    const needed = lowers.length + OTHER_DESCRIPTORS + LEAST_DESCRIPTORS;
    throw new PlyfsError(
      'too-many-files',
      `${lowers.length} lower directories take ${needed} open files, and ${limit} are allowed: raise the limit (ulimit -n).`,
    );
  }
  const share = (divisor: number, most: number): number =>
    Math.max(16, Math.min(most, Math.floor(left / divisor)));
  const directories = new DirectoryDescriptors(share(8, MOST_DIRECTORIES));

  const belief = beliefOf(options);
  // As the kernel refuses it (fs/overlayfs/params.c, ovl_fs_params_verify).
  if (options.redirectDir && belief.marks === 'user') {
    throw new PlyfsError(
      'redirect-denied',
      'redirect_dir=on takes marks that root of the machine alone can set: leave the option out, and directories of lower layers are copied by who moves them.',
    );
  }
  const unbelieved = new Unbelieved(warn);
  const devices = new Devices([...(upper === null ? [] : [upper]), ...lowers].map(({ fd }) => fd));
  const inodes = new InodeNumbers(devices);
  const roots: (LayerDirectory | undefined)[] = [undefined];
  for (const [i, lower] of lowers.entries()) {
    const form = options.lowers[i]?.form ?? (madeForMountProgram(lower.path) ? 'aufs' : undefined);
    const layer = describeLayer(
      lower,
      { index: i + 1, bottom: i === lowers.length - 1, form },
      devices,
      belief,
      unbelieved,
    );
    roots.push(rootOf(lower, layer, directories));
  }
  const upperLayer =
    upper === null || work === null
      ? null
      : upperLayerOf(options, upper, work, devices, directories, belief, unbelieved, warn);
  if (upperLayer !== null) roots[UPPER] = upperLayer.root;

  const origins = new Origins(lowers, devices);
  const below = roots.slice(1) as LayerDirectory[];
  const indexed = options.index && upperLayer !== null && upper !== null;
  const index = indexed ? openIndex(upperLayer, below, origins, upper.path, warn) : null;
  const root = mergeRoots(roots, inodes);
  const ownership = new Ownership(options.ownership, upperLayer?.layer.overrideStat?.attribute);
  const context: UnionContext = {
    options,
    belief,
    roots,
    upper: upperLayer,
    traps: upper === null || work === null ? null : trapsIn(lowers, upper, work),
    nodes: new NodeTable(root, (node) => {
      release(context, node);
    }),
    links: new LinkTable(devices),
    index,
    devices,
    inodes,
    origins,
    ownership,
    directories,
    files: new OpenFiles(share(4, MOST_FILES), {
      noatime: options.noatime ?? false,
      guarded: xattrAside(CAPABILITY, ownership.override),
    }),
    habit: new ListingHabit(),
    events: new UnionEvents(),
    reclaimer: new Reclaimer(),
    stat: newStatBuffer(),
    orphans: 0,
    maxOrphans: share(4, 4096),
    serving: false,
  };
  return context;
}

function upperLayerOf(
  options: UnionOptions,
  upper: OpenedDirectory,
  work: OpenedDirectory,
  devices: Devices,
  directories: DirectoryDescriptors,
  belief: Belief,
  unbelieved: Unbelieved,
  warn: (sentence: string) => void,
): UpperLayer {
  const described = describeLayer(
    upper,
    { index: UPPER, bottom: false, form: options.upper?.form },
    devices,
    belief,
    unbelieved,
  );
  const workdir = rootOf(
    work,
    { ...described, form: 'overlay', overrideStat: undefined },
    directories,
  );
  const staging = prepareWorkdir(workdir, work.path, options.volatile);
  const possible = tryFeatures(
    staging,
    upper.path,
    belief.marks,
    options.upper?.form === 'aufs',
    warn,
  );
  const features =
    options.upper?.form === 'aufs'
      ? { ...possible, whiteoutDevices: false, opaqueMarkers: true }
      : possible;
  const { xattrPermissions } = options.ownership;
  // Who asks for owners to be kept there means those that are there.
  const asked =
    xattrPermissions === 1
      ? OVERRIDE_PRIVILEGED
      : xattrPermissions === 2
        ? OVERRIDE_CONTAINERS
        : undefined;
  const override =
    asked === undefined
      ? described.overrideStat
      : ({ attribute: asked, objects: 'every' } as const);
  const byMarkers = !features.whiteoutDevices || features.opaqueMarkers;
  const layer: Layer = {
    ...described,
    form: byMarkers ? 'aufs' : described.form,
    overrideStat: override,
  };
  return new UpperLayer(layer, rootOf(upper, layer, directories), staging, features);
}

/**
 * The root merges whatever its directories say of themselves, but for an AUFS or OCI layer that
 * declares its root opaque.
 */
export function mergeRoots(
  roots: readonly (LayerDirectory | undefined)[],
  inodes: InodeNumbers,
): DirectoryNode {
  const stack: LayerDirectory[] = [];
  let impure = false;
  const xattrWhiteouts: LayerDirectory[] = [];
  for (const directory of roots) {
    if (directory === undefined) continue;
    stack.push(directory);
    const marks = readMarks(directory);
    if (directory.layer.index === UPPER) impure = marks.impure;
    if (marks.xattrWhiteouts) xattrWhiteouts.push(directory);
    if (marks.opaque && directory.layer.form === 'aufs') break;
  }
  const stat = newStatBuffer();
  // An upper that declares its root opaque stands alone.
  const numbered = stack.find((directory) => directory.layer.index !== UPPER) ?? stack[0];
  if (numbered === undefined) throw new Errno(E.EIO, 'a union without layers');
  check(numbered.stat('' as ByteString, stat, 0), 'stat');
  const root = new DirectoryNode(inodes.of(numbered, '' as ByteString, stat, 0), stack);
  root.impure = impure;
  root.xattrWhiteouts = xattrWhiteouts.length > 0 ? xattrWhiteouts : null;
  return root;
}

/** The kernel has forgotten the node: nothing is kept open for it. */
function release(context: UnionContext, node: Node): void {
  context.reclaimer.nodeGone();
  context.files.drop(node);
  context.links.drop(node);
  discardUnlinked(context, node);
  if (node.isDirectory()) {
    context.habit.gone(node);
    for (const directory of node.stack) directory.release();
  }
}

/** An unlinked file of the upper goes with its node. */
function discardUnlinked(context: UnionContext, node: Node): void {
  if (node.orphanFd >= 0) {
    sys.close(node.orphanFd);
    if (node.orphanCounted) context.orphans--;
    node.orphanFd = -1;
  }
  if (node.parked) sweep(onDisk(node.holder), node.name);
}

function layerInUse(root: LayerDirectory, path: ByteString): LayerInUse {
  const { index, form, marks, overrideStat } = root.layer;
  return {
    index,
    path,
    fd: onDisk(root).fd(),
    form,
    marks,
    ...(overrideStat !== undefined && { overrideStat }),
  };
}

class UnionFileSystem implements Union {
  readonly #context: UnionContext;
  readonly #workFd: number;

  constructor(context: UnionContext, workFd: number) {
    this.#context = context;
    this.#workFd = workFd;
  }

  attach(host: Host): void {
    this.#context.serving = true;
    this.#context.files.attach(host.descriptors);
    this.#context.habit.attach((directory) => {
      host.invalidateNode(directory.id, 0, 0);
    });
  }

  lookup(parent: NodeId, name: Name, out: Attributes): Awaitable<NodeId> {
    return whenReady(() => this.#lookup(parent, name, out));
  }

  #lookup(parent: NodeId, name: Name, out: Attributes): NodeId {
    const context = this.#context;
    const directory = context.nodes.directory(parent);
    const node = findNode(context, directory, name);
    if (node === null) {
      if (context.events.active)
        context.events.publish({ type: 'lookup', path: pathIn(directory, name), layer: null });
      return NO_NODE;
    }
    const dentry = node.links === null ? undefined : directory.entries.get(name);
    if (dentry !== undefined && adoptLink(context, dentry, node))
      check(statNode(node, context.stat), name);
    fillAttributes(context, node, context.stat, 0, out);
    node.lookups++;
    context.habit.lookedUp(directory, node);
    if (context.events.active)
      context.events.publish({
        type: 'lookup',
        path: pathOf(node),
        layer: node.holder.layer.index,
      });
    return node.id;
  }

  forget(node: NodeId, count: number): void {
    this.#context.nodes.forget(node, count);
  }

  getattr(node: NodeId, out: Attributes): void {
    getattr(this.#context, this.#context.nodes.get(node), out);
  }

  setattr(node: NodeId, change: AttributeChange, caller: Caller, out: Attributes): Awaitable<void> {
    return whenReady(() =>
      setattr(this.#context, this.#context.nodes.get(node), change, caller, out),
    );
  }

  readlink(id: NodeId): ByteString {
    const node = this.#context.nodes.get(id);
    if (node.type !== S_IFLNK) throw new Errno(E.EINVAL, 'readlink');
    const size =
      node.orphanFd >= 0
        ? sys.readlinkat(node.orphanFd, '' as ByteString, linkBuffer)
        : node.holder.readlink(node.name, linkBuffer);
    return linkBuffer.toString('latin1', 0, check(size, node.name)) as ByteString;
  }

  mknod(
    parent: NodeId,
    name: Name,
    mode: number,
    rdevMajor: number,
    rdevMinor: number,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId> {
    // Such a device is how the layers spell "deleted" (fs/overlayfs/dir.c, ovl_mknod).
    if ((mode & 0o170000) === 0o020000 && rdevMajor === 0 && rdevMinor === 0)
      throw new Errno(E.EPERM, 'a whiteout');
    return this.#create(
      parent,
      name,
      { mode, rdevMajor, rdevMinor, target: '' as ByteString },
      caller,
      out,
    );
  }

  mkdir(
    parent: NodeId,
    name: Name,
    mode: number,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId> {
    const object = {
      mode: S_IFDIR | (mode & 0o7777),
      rdevMajor: 0,
      rdevMinor: 0,
      target: '' as ByteString,
    };
    return this.#create(parent, name, object, caller, out);
  }

  symlink(
    parent: NodeId,
    name: Name,
    target: ByteString,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId> {
    const object = { mode: S_IFLNK | 0o777, rdevMajor: 0, rdevMinor: 0, target };
    return this.#create(parent, name, object, caller, out);
  }

  #create(
    parent: NodeId,
    name: Name,
    object: NewObject,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId> {
    return whenReady(() =>
      create(this.#context, this.#context.nodes.directory(parent), name, object, caller, out),
    );
  }

  link(
    node: NodeId,
    newParent: NodeId,
    newName: Name,
    caller: Caller,
    out: Attributes,
  ): Awaitable<void> {
    const { nodes } = this.#context;
    return whenReady(() =>
      link(this.#context, nodes.get(node), nodes.directory(newParent), newName, caller, out),
    );
  }

  tmpfile(parent: NodeId, mode: number, caller: Caller, out: Attributes): Awaitable<NodeId> {
    return whenReady(() =>
      tmpfile(this.#context, this.#context.nodes.directory(parent), mode, caller, out),
    );
  }

  unlink(parent: NodeId, name: Name, caller: Caller): Awaitable<void> {
    return whenReady(() =>
      unlink(this.#context, this.#context.nodes.directory(parent), name, caller),
    );
  }

  rmdir(parent: NodeId, name: Name): Awaitable<void> {
    return whenReady(() => {
      rmdir(this.#context, this.#context.nodes.directory(parent), name);
    });
  }

  rename(
    parent: NodeId,
    name: Name,
    newParent: NodeId,
    newName: Name,
    flags: number,
    caller: Caller,
  ): Awaitable<void> {
    const { nodes } = this.#context;
    return whenReady(() => {
      const from = { parent: nodes.directory(parent), name };
      return rename(
        this.#context,
        from,
        { parent: nodes.directory(newParent), name: newName },
        flags,
        caller,
      );
    });
  }

  openFile(id: NodeId, write: boolean, caller: Caller, appending = false): Awaitable<number> {
    const context = this.#context;
    const node = this.#regular(id);
    if (!write) {
      dataOf(context, node);
      return context.files.get(node, false);
    }
    refuseWrite(node, appending);
    return after(this.#copyUp(node, caller), () => {
      killCapability(context, node);
      return context.files.get(node, true);
    });
  }

  appended(id: NodeId): void {
    const node = this.#context.nodes.get(id);
    if (protectionOf(node) !== UNPROTECTED) this.#context.files.drop(node);
  }

  getFlags(id: NodeId, extended: boolean, value: Uint8Array): void {
    getFlags(this.#context.nodes.get(id), extended, value);
  }

  setFlags(id: NodeId, extended: boolean, value: Uint8Array, caller: Caller): Awaitable<void> {
    return whenReady(() =>
      setFlags(this.#context, this.#context.nodes.get(id), extended, value, caller),
    );
  }

  backingFile(id: NodeId, write: boolean, caller: Caller, appending = false): Awaitable<number> {
    if (write) return this.openFile(id, true, caller, appending);
    const context = this.#context;
    const node = this.#regular(id);
    const own = dataOf(context, node) === node;
    return context.upper === null || (own && node.inUpper) ? context.files.get(node, false) : -1;
  }

  killSetId(node: NodeId, caller: Caller): void {
    killSetId(this.#context, this.#context.nodes.get(node), caller);
  }

  async fsync(id: NodeId, dataOnly: boolean): Promise<void> {
    const node = this.#context.nodes.get(id);
    await whenReady(() => node.copyingUp ?? undefined);
    if (!this.#flushes || !node.inUpper || node.type !== S_IFREG) return;
    // fdatasync(2) leaves out the name that a copy-up has given to data flushed before (on ext4:
    // link(2) is no part of i_datasync_tid); the caller, whose file had its name all along, must
    // find the data under it.
    const data = dataOnly && node.nameFlushed;
    await this.#onDuplicate(this.#context.files.get(node, true), (fd) => sys.fsyncAsync(fd, data));
    if (!data) node.nameFlushed = true;
  }

  async fallocate(
    id: NodeId,
    mode: number,
    offset: number,
    length: number,
    caller: Caller,
  ): Promise<void> {
    const node = this.#regular(id);
    refuseWrite(node, (mode & ~FALLOC_FL_KEEP_SIZE) === 0);
    await this.#copyUp(node, caller);
    killCapability(this.#context, node);
    await this.#onDuplicate(this.#context.files.get(node, true), (fd) =>
      sys.fallocateAsync(fd, mode, offset, length),
    );
    this.#dataChanged(id, caller);
  }

  /**
   * With a write the kernel says whether set-id bits must go; with other changes of data it leaves
   * that to us (fs/fuse/dir.c, fuse_setattr).
   */
  #dataChanged(id: NodeId, caller: Caller): void {
    const node = this.#context.nodes.get(id);
    if (hasSetId(node) && !mayKeepSetId(caller)) this.killSetId(id, caller);
  }

  lseek(id: NodeId, offset: number, whence: number): Awaitable<number> {
    const context = this.#context;
    const node = this.#regular(id);
    dataOf(context, node);
    check(statNode(node, context.stat), node.name);
    const fd = context.files.get(node, false);
    if (field(context.stat, 0, StatField.Size) - offset > EXTENTS_AT_ONCE) {
      return this.#onDuplicate(fd, (own) => sys.lseekAsync(own, offset, whence));
    }
    return check(sys.lseek(fd, offset, whence), 'lseek');
  }

  copyFileRange(
    from: NodeId,
    fromOffset: number,
    to: NodeId,
    toOffset: number,
    length: number,
    caller: Caller,
  ): Awaitable<number> {
    const context = this.#context;
    const source = this.#regular(from);
    const target = this.#regular(to);
    refuseWrite(target, false);
    return after(this.#copyUp(target, caller), () => {
      dataOf(context, source);
      check(statNode(source, context.stat), source.name);
      killCapability(context, target);
      // In this order: a file that is copied within itself is then read by the descriptor that
      // writes it.
      const targetFd = context.files.get(target, true);
      const sourceFd = context.files.get(source, false);
      if (Math.min(length, field(context.stat, 0, StatField.Size) - fromOffset) > COPY_AT_ONCE)
        return this.#copyAside(sourceFd, fromOffset, to, targetFd, toOffset, length, caller);
      const copied = check(
        sys.copyFileRange(sourceFd, fromOffset, targetFd, toOffset, length),
        'copy_file_range',
      );
      if (copied > 0) this.#dataChanged(to, caller);
      return copied;
    });
  }

  async #copyAside(
    from: number,
    fromOffset: number,
    to: NodeId,
    toFd: number,
    toOffset: number,
    length: number,
    caller: Caller,
  ): Promise<number> {
    const sourceFd = check(sys.dup(from), 'dup');
    try {
      const copied = await this.#onDuplicate(toFd, (fd) =>
        sys.copyFileRangeAsync(sourceFd, fromOffset, fd, toOffset, length),
      );
      if (copied > 0) this.#dataChanged(to, caller);
      return copied;
    } finally {
      sys.close(sourceFd);
    }
  }

  readdir(node: NodeId, cookie: number, plus: boolean, sink: DirectorySink): Awaitable<void> {
    return whenReady(() => {
      readdir(this.#context, this.#context.nodes.directory(node), cookie, plus, sink);
    });
  }

  async fsyncdir(id: NodeId, dataOnly: boolean): Promise<void> {
    const node = this.#context.nodes.directory(id);
    if (!this.#flushes || node.upper === null || node.lastStat !== null) return;
    await this.#onDuplicate(node.upper.fd(), (fd) => sys.fsyncAsync(fd, dataOnly));
  }

  async syncfs(): Promise<void> {
    const { upper } = this.#context;
    if (upper === null || !this.#flushes) return;
    check(await sys.syncfsAsync(upper.root.fd()), 'syncfs');
  }

  statfs(out: FileSystemStatistics): void {
    const root = onDisk(this.#context.nodes.directory(ROOT_NODE).stack[0] as LayerDirectory);
    const values = new Float64Array(10);
    check(sys.fstatfs(root.fd(), values), 'statfs');
    [
      ,
      out.bsize,
      out.blocks,
      out.bfree,
      out.bavail,
      out.files,
      out.ffree,
      out.namelen,
      out.frsize,
    ] = values as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
  }

  getxattr(node: NodeId, name: ByteString): Uint8Array | null {
    return getxattr(this.#context, this.#context.nodes.get(node), name);
  }

  listxattr(node: NodeId, caller: Caller): Uint8Array {
    return listxattr(this.#context, this.#context.nodes.get(node), caller);
  }

  setxattr(
    node: NodeId,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    killSetGid: boolean,
    caller: Caller,
  ): Awaitable<void> {
    return whenReady(() =>
      setxattr(
        this.#context,
        this.#context.nodes.get(node),
        name,
        value,
        flags,
        killSetGid,
        caller,
      ),
    );
  }

  removexattr(node: NodeId, name: ByteString, caller: Caller): Awaitable<void> {
    return whenReady(() => removexattr(this.#context, this.#context.nodes.get(node), name, caller));
  }

  layers(): LayerInUse[] {
    const { options, roots } = this.#context;
    const paths = [options.upper, ...options.lowers].map((layer) => layer?.path);
    return roots.flatMap((root, i) =>
      root === undefined ? [] : [layerInUse(root, paths[i] as ByteString)],
    );
  }

  usage(): FileSystemUsage {
    const { nodes, files, directories, orphans } = this.#context;
    return { nodes: nodes.size, descriptors: files.size + directories.size + orphans };
  }

  async destroy(): Promise<void> {
    const context = this.#context;
    const copying = [...context.nodes.values()].flatMap((node) =>
      node.copyingUp === null ? [] : [node.copyingUp],
    );
    await Promise.allSettled(copying);
    const { upper } = context;
    const toFlush = upper !== null && this.#flushes ? sys.dup(upper.root.fd()) : -1;
    // Who unmounted may want the layers' file systems next: what holds them goes, and the rest goes
    // with the process.
    for (const node of context.nodes.values()) discardUnlinked(context, node);
    context.reclaimer.stop();
    context.files.clear();
    if (upper !== null) sweepAll(upper.work);
    context.directories.closeAll();
    for (const root of context.roots) root?.release();
    upper?.close();
    // Nothing is changed from here on: who mounts the same upper next need not wait until all is
    // flushed.
    if (this.#workFd >= 0) sys.close(this.#workFd);
    if (toFlush < 0) return;
    const flushed = await sys.syncfsAsync(toFlush);
    sys.close(toFlush);
    check(flushed, 'syncfs');
  }

  #copyUp(node: Node, caller: Caller): Awaitable<void> {
    return whenReady(() => copyUp(this.#context, node, caller));
  }

  get #flushes(): boolean {
    return this.#context.options.fsync && !this.#context.options.volatile;
  }

  #regular(id: NodeId): Node {
    const node = this.#context.nodes.get(id);
    if (node.isDirectory()) throw new Errno(E.EISDIR);
    if (node.type !== S_IFREG) throw new Errno(E.EINVAL, 'not a regular file');
    return node;
  }

  /** Work on another thread, whose descriptor nobody may close meanwhile. Throws `Errno`. */
  async #onDuplicate(fd: number, work: (fd: number) => Promise<number>): Promise<number> {
    const own = check(sys.dup(fd), 'dup');
    try {
      return check(await work(own));
    } finally {
      sys.close(own);
    }
  }
}
