/**
 * What a union owes its own callers in inode numbers, whatever the oracle's are: `d_ino` is
 * `st_ino`, `d_type` is the type, and a file keeps its number while it is changed, copied up,
 * renamed and mounted again.
 *
 * A lower file with several names is left out: its names part when they are copied up, and where
 * they do not, a remount may tell.
 */
import type { Entry, Stat } from '../actor.js';
import { S_IFDIR, S_IFMT } from '../constants.js';
import { pathsOf, type Call } from './scenario.js';

interface Known {
  readonly ino: bigint;
  readonly type: number;
}

export class InodeWatch {
  private readonly known = new Map<string, Known>();

  /** `shared`: the numbers of lower files that have several names. */
  constructor(private readonly shared: ReadonlySet<bigint>) {}

  /** Everything was replaced: an exchange gives files that were never lower other numbers. */
  clear(): void {
    this.known.clear();
  }

  /** Returns what is wrong, or undefined. `path` as an operation named it. */
  seen(path: string, stat: Pick<Stat, 'ino' | 'mode'>): string | undefined {
    const at = normal(path);
    const type = stat.mode & S_IFMT;
    if (!this.direct(at)) return undefined;
    const before = this.known.get(at);
    this.known.set(at, { ino: stat.ino, type });
    if (before === undefined || before.type !== type || before.ino === stat.ino) return undefined;
    if (this.shared.has(before.ino)) return undefined;
    return `st_ino of ${JSON.stringify(at)} was ${before.ino} and is ${stat.ino}`;
  }

  /** An entry of a listing beside the lstat of the same name. */
  static entry(
    entry: Pick<Entry, 'name' | 'ino' | 'type'>,
    stat: Pick<Stat, 'ino' | 'mode'>,
  ): string | undefined {
    if (entry.type !== (stat.mode & S_IFMT) >> 12)
      return `d_type of ${JSON.stringify(entry.name)} is ${entry.type}, its mode ${stat.mode.toString(8)}`;
    if (entry.ino !== stat.ino)
      return `d_ino of ${JSON.stringify(entry.name)} is ${entry.ino}, its st_ino ${stat.ino}`;
    return undefined;
  }

  /**
   * Whether no symbolic link leads to the path, as far as is known: all above it was seen to be
   * directories.
   */
  private direct(path: string): boolean {
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) {
      if (this.known.get(path.slice(0, at))?.type !== S_IFDIR) return false;
    }
    return true;
  }

  /** An operation that succeeded: what it made, moved or removed. */
  after(operation: Call, exchange: boolean): void {
    const changes = [
      'unlink',
      'rmdir',
      'mkdir',
      'mknod',
      'symlink',
      'link',
      'linkfd',
      'rename',
    ].includes(operation.op);
    // What was changed by another way may be known by its own.
    if (changes && !pathsOf(operation).every((path) => this.direct(normal(path)))) this.clear();
    switch (operation.op) {
      case 'unlink':
      case 'rmdir':
      case 'mkdir':
      case 'mknod':
      case 'symlink':
        this.take(normal(operation.path));
        return;
      case 'link':
        this.take(normal(operation.to));
        return;
      case 'linkfd':
        this.take(normal(operation.path));
        return;
      case 'open':
      case 'put':
        // Through a symbolic link it may have made a file elsewhere; there was none whose number
        // could change.
        return;
      case 'rename': {
        const [from, to] = [normal(operation.path), normal(operation.to)];
        if (from === to) return;
        const moved = this.take(from);
        const replaced = this.take(to);
        for (const [below, known] of moved) this.known.set(to + below, known);
        if (exchange) for (const [below, known] of replaced) this.known.set(from + below, known);
        return;
      }
      default:
        return;
    }
  }

  private take(path: string): [below: string, known: Known][] {
    const taken: [string, Known][] = [];
    for (const [at, known] of this.known) {
      if (at !== path && !at.startsWith(`${path}/`)) continue;
      taken.push([at.slice(path.length), known]);
      this.known.delete(at);
    }
    return taken;
  }
}

function normal(path: string): string {
  return path.replace(/\/+$/, '').replace(/^\.\//, '');
}
