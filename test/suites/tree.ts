/**
 * A snapshot of everything a tree shows, and how two differ: what "the same tree" means in every
 * test.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { Test } from 'tap';
import type { Actor } from './actor.js';
import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from './constants.js';

export interface TreeOptions {
  /** Paths (relative, one character a byte) not to be descended into or compared. */
  readonly ignore?: (path: string) => boolean;
  /** Xattrs that do not count, e.g. the union's own. */
  readonly ignoreXattr?: (name: string) => boolean;
  /** Inode numbers count too. Default false. */
  readonly ino?: boolean;
  /** Link counts of non-directories count too. Default false: a union may break or keep links. */
  readonly nlink?: boolean;
  /** Default true. */
  readonly mtime?: boolean;
}

/**
 * One line that says everything of an entry, by its path relative to the root (`.` is the root).
 */
export type Tree = ReadonlyMap<string, string>;

const typeNames = new Map([
  [S_IFREG, 'file'],
  [S_IFDIR, 'dir'],
  [S_IFLNK, 'symlink'],
  [S_IFIFO, 'fifo'],
  [S_IFSOCK, 'socket'],
  [S_IFCHR, 'char'],
  [S_IFBLK, 'block'],
]);

const chunk = Buffer.alloc(1 << 20);

function sha256(path: Buffer): string {
  const hash = createHash('sha256');
  const file = openSync(path, 'r');
  try {
    for (;;) {
      const n = readSync(file, chunk);
      if (n === 0) return hash.digest('hex');
      hash.update(chunk.subarray(0, n));
    }
  } finally {
    closeSync(file);
  }
}

/**
 * Reads the tree under `root` (an absolute path). An entry that is listed but cannot be read is
 * told as such, never skipped.
 */
export async function treeOf(actor: Actor, root: string, options: TreeOptions = {}): Promise<Tree> {
  const tree = new Map<string, string>();
  const rootBytes = Buffer.from(root);
  const bytesAt = (path: string) =>
    path === '.' ? rootBytes : Buffer.concat([rootBytes, Buffer.from(`/${path}`, 'latin1')]);

  const xattrs = async (at: Buffer): Promise<string> => {
    const shown: string[] = [];
    for (const name of await actor.listxattr(at)) {
      if (options.ignoreXattr?.(name)) continue;
      const value = await actor.getxattr(at, Buffer.from(name, 'latin1'));
      shown.push(`${name}=${Buffer.from(value, 'latin1').toString('hex')}`);
    }
    return shown.length === 0 ? '' : ` xattrs ${shown.join(' ')}`;
  };

  const describe = async (path: string): Promise<{ isDir: boolean; text: string }> => {
    const at = bytesAt(path);
    const s = await actor.lstat(at);
    const type = s.mode & S_IFMT;
    let text = `${typeNames.get(type) ?? `type ${type.toString(8)}`} ${(s.mode & 0o7777).toString(8)} ${s.uid}:${s.gid}`;
    if (options.mtime !== false) text += ` mtime ${s.mtime}`;
    if (type === S_IFREG) text += ` size ${s.size} sha256 ${sha256(at).slice(0, 32)}`;
    if (type === S_IFLNK) text += ` -> ${JSON.stringify(await actor.readlink(at))}`;
    if (type === S_IFCHR || type === S_IFBLK) text += ` rdev ${s.rdev}`;
    if (options.nlink && type !== S_IFDIR) text += ` nlink ${s.nlink}`;
    if (options.ino) text += ` ino ${s.ino}`;
    return { isDir: type === S_IFDIR, text: text + (await xattrs(at)) };
  };

  const walk = async (
    path: string,
    told: Promise<{ isDir: boolean; text: string }>,
  ): Promise<void> => {
    let found;
    try {
      found = await told;
    } catch (error) {
      tree.set(path, `unreadable: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    tree.set(path, found.text);
    if (!found.isDir) return;
    const names = await actor.names(bytesAt(path));
    for (let i = 1; i < names.length; i++) {
      if (names[i] === names[i - 1])
        tree.set(`${join(path, names[i] ?? '')} (again)`, 'listed twice');
    }
    const paths = [...new Set(names)]
      .map((name) => join(path, name))
      .filter((below) => !options.ignore?.(below));
    // Asked for all at once: the actor answers in order, without a wait between two of them.
    for (let i = 0; i < paths.length; i += 200) {
      const asked = paths.slice(i, i + 200).map((below) => [below, describe(below)] as const);
      for (const [, answer] of asked) answer.catch(() => undefined);
      for (const [below, answer] of asked) await walk(below, answer);
    }
  };

  await walk('.', describe('.'));
  return tree;
}

function join(dir: string, name: string): string {
  return dir === '.' ? name : `${dir}/${name}`;
}

/** What differs, one line an entry and side, at most 40 lines. Empty: the same. */
export function differences(found: Tree, wanted: Tree): string[] {
  const lines: string[] = [];
  for (const path of [...new Set([...found.keys(), ...wanted.keys()])].sort()) {
    const [is, should] = [found.get(path), wanted.get(path)];
    if (is === should) continue;
    if (should !== undefined) lines.push(`- ${path}: ${should}`);
    if (is !== undefined) lines.push(`+ ${path}: ${is}`);
  }
  return lines.length > 40 ? [...lines.slice(0, 40), `… and ${lines.length - 40} more`] : lines;
}

/** Asserts that two trees are the same; a failure shows only what differs. */
export function sameTree(t: Test, found: Tree, wanted: Tree, message: string): void {
  const lines = differences(found, wanted);
  if (lines.length === 0) t.pass(`${message} (${wanted.size} entries)`);
  else t.fail(message, { differences: lines });
}
