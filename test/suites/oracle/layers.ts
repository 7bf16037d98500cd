/** Makes a scenario's layers on disk. */
import { Errno } from '../../../src/base/errno.js';
import type { Actor } from '../actor.js';
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK, XATTR_CREATE } from '../constants.js';
import { parentOf, type Layer, type LayerEntry } from './scenario.js';

const bytes = (text: string) => Buffer.from(text, 'latin1');

/** The entry's own times: seconds as given, nanoseconds that nobody rounds to. */
const nanoseconds = (time: number) => (time * 7919 + 123_456_789) % 1_000_000_000;

async function make(disk: Actor, entry: LayerEntry, at: (path: string) => Buffer): Promise<void> {
  const path = at(entry.path);
  switch (entry.kind) {
    case 'file': {
      const fd = await disk.open(path, 0o301, 0o600);
      const size = entry.size ?? 0;
      // A large file is a hole with an end.
      if (size > 100_000)
        await disk.write(fd, bytes((entry.fill ?? 'x').repeat(1000)), size - 1000);
      else if (size > 0) await disk.write(fd, bytes((entry.fill ?? 'x').repeat(size)));
      await disk.close(fd);
      return;
    }
    case 'dir':
      await disk.mkdir(path);
      return;
    case 'opaque':
      await disk.mkdir(path);
      await disk.setxattr(path, 'trusted.overlay.opaque', 'y');
      return;
    case 'symlink':
      await disk.symlink(bytes(entry.target ?? 'a'), path);
      return;
    case 'fifo':
      await disk.mknod(path, S_IFIFO | 0o600);
      return;
    case 'socket':
      await disk.mknod(path, S_IFSOCK | 0o600);
      return;
    case 'char':
      await disk.mknod(path, S_IFCHR | 0o600, 1, 3);
      return;
    case 'block':
      await disk.mknod(path, S_IFBLK | 0o600, 7, 200);
      return;
    case 'whiteout':
      await disk.mknod(path, S_IFCHR | 0o600, 0, 0);
      return;
    case 'xwhiteout':
      await disk.close(await disk.open(path, 0o301, 0o644));
      await disk.setxattr(path, 'trusted.overlay.whiteout', '');
      return;
    case 'link':
      await disk.link(at(entry.target ?? 'a'), path);
      return;
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
  below: readonly string[] = [],
): Promise<LayerEntry[]> {
  const inLayer = (directory: string, path: string) =>
    Buffer.concat([Buffer.from(`${directory}/`), bytes(path)]);
  const at = (path: string) => inLayer(root, path);
  const exists = async (directory: string, path: string) => {
    const stat = await disk.lstat(inLayer(directory, path)).catch(() => undefined);
    return stat !== undefined;
  };
  const laid: LayerEntry[] = [];
  for (const entry of layer.entries) {
    // A second name of a whiteout by xattr, in a directory that is not marked, is read differently
    // by every version of overlayfs. The marker's name would be too long.
    if (
      layer.dialect === 'aufs' &&
      entry.kind === 'whiteout' &&
      entry.path.slice(entry.path.lastIndexOf('/') + 1).length > 251
    )
      continue;
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
      for (let i = 1; i < parts.length; i++) {
        const parent = parts.slice(0, i).join('/');
        const made = await disk.mkdir(at(parent)).then(
          () => true,
          () => false,
        );
        if (made) laid.push({ path: parent, kind: 'dir', mode: 0o777, time: 900_000_000 + i });
      }
      await make(disk, entry, at);
      // A directory whose zero-size files may be whiteouts says so itself; one that is opaque
      // altogether cannot.
      if (entry.kind === 'xwhiteout') {
        const directory = at(parentOf(entry.path));
        await disk
          .setxattr(directory, 'trusted.overlay.opaque', 'x', XATTR_CREATE)
          .catch(() => undefined);
        if ((await disk.getxattr(directory, 'trusted.overlay.opaque')) !== 'x') {
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

/** Makes what `layLayer` has made, by AUFS markers. */
export async function layInAufs(
  disk: Actor,
  laid: readonly LayerEntry[],
  root: string,
): Promise<void> {
  const at = (path: string) => Buffer.concat([Buffer.from(`${root}/`), bytes(path)]);
  const touch = async (path: string) => disk.close(await disk.open(at(path), 0o301, 0o644));
  await touch('.wh..wh.aufs');
  for (const entry of laid) {
    const parent = parentOf(entry.path);
    const beside = `${parent}/.wh.${entry.path.slice(entry.path.lastIndexOf('/') + 1)}`;
    if (entry.kind === 'whiteout') await touch(beside);
    else if (entry.kind === 'opaque') {
      await disk.mkdir(at(entry.path));
      // Two ways to say it: a marker within, or one that hides the name below.
      await touch((entry.time ?? 0) % 2 === 0 ? `${entry.path}/.wh..wh..opq` : beside);
    } else await make(disk, entry, at);
  }
  await describe(disk, laid, root);
}

/** Gives everything its owner, mode, attributes and times. */
async function describe(disk: Actor, laid: readonly LayerEntry[], root: string): Promise<void> {
  const at = (path: string) => Buffer.concat([Buffer.from(`${root}/`), bytes(path)]);
  for (const entry of laid) {
    const path = at(entry.path);
    if (entry.kind === 'whiteout' || entry.kind === 'xwhiteout' || entry.kind === 'link') continue;
    if (entry.uid !== undefined || entry.gid !== undefined)
      await disk.lchown(path, entry.uid ?? 0, entry.gid ?? 0);
    if (entry.kind !== 'symlink') await disk.chmod(path, entry.mode ?? 0o755);
    for (const [name, value] of Object.entries(entry.xattrs ?? {})) {
      // `user.` attributes are for files and directories alone.
      await disk.setxattr(path, name, bytes(value)).catch(() => undefined);
    }
  }
  // The times last, children before what holds them.
  for (const entry of [...laid].reverse()) {
    if (entry.kind === 'whiteout' || entry.kind === 'xwhiteout' || entry.kind === 'link') continue;
    const time = entry.time ?? 1_000_000_000;
    await disk.utimens(
      at(entry.path),
      [time, nanoseconds(time)],
      [time + 1, nanoseconds(time + 1)],
    );
  }
  await disk.utimens(Buffer.from(root), [800_000_000, 1], [800_000_001, 2]);
}
