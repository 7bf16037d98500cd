/** Makes a scenario's layers on disk. */
import { E, Errno } from '../../../src/base/errno.js';
import { GIVEN, inOrder, type Actor } from '../actor.js';
import { O_DIRECTORY, S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK, XATTR_CREATE } from '../constants.js';
import { parentOf, type Dialect, type Layer, type LayerEntry } from './scenario.js';

const bytes = (text: string) => Buffer.from(text, 'latin1');

/** The entry's own times: seconds as given, nanoseconds that nobody rounds to. */
const nanoseconds = (time: number) => (time * 7919 + 123_456_789) % 1_000_000_000;

/** How marks are named: `trusted.overlay.` or `user.overlay.`. */
export type Prefix = 'trusted.overlay.' | 'user.overlay.';

/** Rejects with the first failure, after which nothing more is done. */
async function make(
  disk: Actor,
  entry: LayerEntry,
  at: (path: string) => Buffer,
  opaque: string,
): Promise<void> {
  const path = at(entry.path);
  const made = (...calls: Promise<unknown>[]) => inOrder(...calls).then(() => undefined);
  switch (entry.kind) {
    case 'file': {
      const size = entry.size ?? 0;
      const byte = (entry.fill ?? 'x').charCodeAt(0);
      return made(
        disk.open(path, 0o301, 0o600),
        // A large file is a hole with an end.
        size > 100_000 ? disk.fill(GIVEN, byte, 1000, size - 1000) : disk.fill(GIVEN, byte, size),
        disk.close(GIVEN),
      );
    }
    case 'dir':
      return made(disk.mkdir(path));
    case 'opaque':
      await disk.mkdir(path);
      return made(disk.setxattr(path, opaque, 'y'));
    case 'subvolume': {
      const parent = at(parentOf(entry.path));
      const name = bytes(entry.path.slice(entry.path.lastIndexOf('/') + 1));
      await made(
        disk.open(parent, O_DIRECTORY),
        // Elsewhere than on btrfs: a directory.
        disk.subvolume(GIVEN, name).catch((error: unknown) => {
          if (!(error instanceof Errno) || error.errno !== E.ENOTTY) throw error;
        }),
        disk.close(GIVEN),
      );
      const there = await disk.lstat(path).catch(() => undefined);
      return there === undefined ? made(disk.mkdir(path)) : undefined;
    }
    case 'symlink':
      return made(disk.symlink(bytes(entry.target ?? 'a'), path));
    case 'fifo':
      return made(disk.mknod(path, S_IFIFO | 0o600));
    case 'socket':
      return made(disk.mknod(path, S_IFSOCK | 0o600));
    case 'char':
      return made(disk.mknod(path, S_IFCHR | 0o600, 1, 3));
    case 'block':
      return made(disk.mknod(path, S_IFBLK | 0o600, 7, 200));
    case 'whiteout':
      return made(disk.mknod(path, S_IFCHR | 0o600, 0, 0));
    case 'xwhiteout':
      await disk.close(await disk.open(path, 0o301, 0o644));
      return made(disk.setxattr(path, opaque.replace(/opaque$/, 'whiteout'), ''));
    case 'link':
      return made(disk.link(at(entry.target ?? 'a'), path));
  }
}

/**
 * Makes the layer in overlayfs's own way in `root`, which exists. `below`: the layers under it,
 * laid already. Resolves to what there is now, in the order in which it was made.
 */
export async function layLayer(
  disk: Actor,
  layer: Layer,
  root: string,
  prefix: Prefix,
  below: readonly string[] = [],
): Promise<LayerEntry[]> {
  const opaque = `${prefix}opaque`;
  const inLayer = (directory: string, path: string) =>
    Buffer.concat([Buffer.from(`${directory}/`), bytes(path)]);
  const at = (path: string) => inLayer(root, path);
  const exists = async (directory: string, path: string) => {
    const stat = await disk.lstat(inLayer(directory, path)).catch(() => undefined);
    return stat !== undefined;
  };
  const laid: LayerEntry[] = [];
  for (const entry of layer.entries) {
    // No layer of that form can hide the name: its marker's would be too long.
    if (
      layer.dialect === 'aufs' &&
      entry.kind === 'whiteout' &&
      nameOf(markerBeside(entry.path)).length > LONGEST_NAME
    )
      continue;
    // A second name of a whiteout by xattr, in a directory that is not marked, is read differently
    // by every version of overlayfs.
    if (
      entry.kind === 'link' &&
      laid.some((other) => other.path === entry.target && other.kind === 'xwhiteout')
    )
      continue;
    // overlayfs finds a directory not empty that holds nothing but one which hides nothing.
    if (
      entry.kind === 'xwhiteout' &&
      !(await Promise.all(below.map((lower) => exists(lower, entry.path)))).includes(true)
    )
      continue;
    const parts = entry.path.split('/');
    try {
      const above = parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join('/'));
      await disk.together(async () => {
        const mkdirs = above.map((parent) =>
          disk.mkdir(at(parent)).then(
            () => true,
            () => false,
          ),
        );
        const made = make(disk, entry, at, opaque);
        made.catch(() => undefined);
        for (const [i, parent] of above.entries())
          if (await mkdirs[i])
            laid.push({ path: parent, kind: 'dir', mode: 0o777, time: 900_000_001 + i });
        await made;
      });
      // A directory whose zero-size files may be whiteouts says so itself; one that is opaque
      // altogether cannot.
      if (entry.kind === 'xwhiteout') {
        const directory = at(parentOf(entry.path));
        await disk.setxattr(directory, opaque, 'x', XATTR_CREATE).catch(() => undefined);
        if ((await disk.getxattr(directory, opaque)) !== 'x') {
          await disk.unlink(at(entry.path));
          continue;
        }
      }
    } catch (error) {
      if (error instanceof Errno) continue;
      throw error;
    }
    laid.push(entry);
  }
  await describe(disk, laid, root);
  return laid;
}

/** Makes what `layLayer` has made, with the marks of a dialect. */
export async function layInDialect(
  disk: Actor,
  laid: readonly LayerEntry[],
  root: string,
  dialect: Dialect,
): Promise<void> {
  const at = (path: string) => Buffer.concat([Buffer.from(`${root}/`), bytes(path)]);
  const touch = (path: string) =>
    disk.together(() => inOrder(disk.open(at(path), 0o301, 0o644), disk.close(GIVEN)));
  if (dialect === 'aufs') await touch('.wh..wh.aufs');
  for (const entry of laid) {
    const beside = markerBeside(entry.path);
    if (dialect === 'fuse-overlayfs')
      await disk.together(() => make(disk, entry, at, 'user.fuseoverlayfs.opaque'));
    else if (entry.kind === 'whiteout') await touch(beside);
    else if (entry.kind === 'opaque') {
      await disk.mkdir(at(entry.path));
      // Two ways to say it: a marker within, or one that hides the name below.
      const within = (entry.time ?? 0) % 2 === 0 || nameOf(beside).length > LONGEST_NAME;
      await touch(within ? `${entry.path}/.wh..wh..opq` : beside);
    } else await disk.together(() => make(disk, entry, at, ''));
  }
  await describe(disk, laid, root);
}

const LONGEST_NAME = 255;

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The AUFS marker that hides a name of the layers below. */
function markerBeside(path: string): string {
  return `${parentOf(path)}/.wh.${nameOf(path)}`;
}

/** Gives everything its owner, mode, attributes and times. */
async function describe(disk: Actor, laid: readonly LayerEntry[], root: string): Promise<void> {
  const at = (path: string) => Buffer.concat([Buffer.from(`${root}/`), bytes(path)]);
  const marks = (entry: LayerEntry) => ['whiteout', 'xwhiteout', 'link'].includes(entry.kind);
  const described = laid.filter((entry) => !marks(entry));
  await disk.together(() => {
    const calls: Promise<unknown>[] = [];
    for (const entry of described) {
      const path = at(entry.path);
      if (entry.uid !== undefined || entry.gid !== undefined)
        calls.push(disk.lchown(path, entry.uid ?? 0, entry.gid ?? 0));
      if (entry.kind !== 'symlink') calls.push(disk.chmod(path, entry.mode ?? 0o755));
      for (const [name, value] of Object.entries(entry.xattrs ?? {})) {
        // `user.` attributes are for files and directories alone.
        calls.push(disk.setxattr(path, name, bytes(value)).catch(() => undefined));
      }
    }
    // The times last, children before what holds them.
    for (const entry of [...described].reverse()) {
      const time = entry.time ?? 1_000_000_000;
      calls.push(
        disk.utimens(at(entry.path), [time, nanoseconds(time)], [time + 1, nanoseconds(time + 1)]),
      );
    }
    calls.push(disk.utimens(Buffer.from(root), [800_000_000, 1], [800_000_001, 2]));
    return inOrder(...calls);
  });
}
