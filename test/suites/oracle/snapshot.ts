/** All that a tree shows, in one call, and as lines that can be compared. */
import { errnoName } from '../../../src/base/errno.js';
import type { Actor, TreeEntry } from '../actor.js';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../constants.js';
import type { Tree } from '../tree.js';

/** By path, the root as `.`; a directory before what it holds. */
export type Snapshot = ReadonlyMap<string, TreeEntry>;

export async function snapshot(actor: Actor, root: Uint8Array): Promise<Snapshot> {
  const taken = new Map<string, TreeEntry>();
  for (const entry of await actor.tree(root)) {
    let path = entry.path === '' ? '.' : entry.path;
    while (taken.has(path)) path += ' (again)';
    taken.set(path, entry);
  }
  return taken;
}

export interface LineOptions {
  /** Link counts of non-directories. */
  readonly nlink?: boolean;
  readonly ino?: boolean;
  readonly mtime?: boolean;
  /** A modification time from then on is told as `now`: nanoseconds since the epoch. */
  readonly start?: bigint;
}

export function linesOf(taken: Snapshot, options: LineOptions = {}): Tree {
  return new Map([...taken].map(([path, entry]) => [path, lineOf(entry, options)]));
}

function lineOf(entry: TreeEntry, { nlink, ino, mtime, start }: LineOptions): string {
  if (entry.stat === undefined) return `unreadable: ${errnoName(entry.error)}`;
  const { stat, more } = entry;
  const type = stat.mode & S_IFMT;
  let line = `${stat.mode.toString(8)} ${stat.uid}:${stat.gid} rdev ${more.rdev}`;
  if (mtime !== false) line += ` mtime ${timeShown(more.mtime, start)}`;
  if (type === S_IFREG) line += ` size ${more.size} sum ${more.sum}`;
  if (type === S_IFLNK) line += ` -> ${JSON.stringify(more.target)}`;
  if (nlink === true && type !== S_IFDIR) line += ` nlink ${stat.nlink}`;
  if (ino === true) line += ` ino ${stat.ino}`;
  for (const [name, value] of more.xattrs) line += ` ${name}=${value}`;
  return line;
}

export function timeShown(nanoseconds: string, start: bigint | undefined): string {
  return start !== undefined && BigInt(nanoseconds) >= start ? 'now' : nanoseconds;
}
