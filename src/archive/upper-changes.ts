/**
 * What a layer changes over those below, read from its own directory: names in the layers below are
 * looked up, their trees are not walked. The letters are those of the naive diff (changes.ts) of
 * the mounted layer against what is below it.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { S_IFCHR, S_IFDIR, S_IFMT, S_IFREG } from '../sys/constants.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { isDifferent, sameCapability, sortChanges, type Change } from './changes.js';
import { META_PREFIX, OPAQUE_MARKER, WHITEOUT_PREFIX } from './entry-path.js';
import { directoryMarks, isXattrWhiteout, type DirectoryMarks } from '../overlay/layer-marks.js';
import { LayerRoot, namesIn, openBelow } from '../overlay/layer-root.js';
import {
  isThere,
  join,
  list,
  openChild,
  orUnreadable,
  statOne,
  unreadable,
} from '../overlay/tree-reader.js';
import {
  closedOnError,
  walkTrees,
  type Below,
  type TreeWalk,
  type Visit,
} from '../overlay/walk-trees.js';
import type { Ownership } from '../overlay/form.js';

export interface UpperDirectories {
  readonly own: string;
  /** Topmost first. */
  readonly below: readonly string[];
  readonly form: 'overlay' | 'aufs';
}

/** The layer's own directory among those of the walk; those below follow, topmost first. */
const OWN = 0;
/** The descriptor of what a layer does not have. */
const NONE = -1;

const ROOT = '' as ByteString;

/**
 * Sorted as `compareTrees` sorts; undefined when a directory has another name below (redirect),
 * which only the mounted layer shows. Throws `layer-missing`, `tree-unreadable`.
 */
export function upperChanges(
  directories: UpperDirectories,
  options: { ownership?: Ownership } = {},
): Change[] | undefined {
  const roots: LayerRoot[] = [];
  const open = (path: string): number => {
    const root = LayerRoot.open(path);
    roots.push(root);
    return root.fd;
  };
  try {
    const comparison = new UpperComparison(directories.form, options.ownership ?? 'real');
    const trees = [open(directories.own)];
    const marks = comparison.marks(trees[OWN]!, ROOT);
    for (const path of directories.below) {
      const below = open(path);
      trees.push(below);
      if (comparison.marks(below, ROOT).opaque) break;
    }
    orUnreadable(ROOT, () => walkTrees(trees, (walk) => comparison.directory(walk, ROOT, marks)));
    return comparison.redirected ? undefined : sortChanges(comparison.changes);
  } finally {
    for (const root of roots) root.close();
  }
}

class UpperComparison {
  readonly changes: Change[] = [];
  redirected = false;
  readonly #aufs: boolean;
  readonly #ownership: Ownership;

  constructor(form: UpperDirectories['form'], ownership: Ownership) {
    this.#aufs = form === 'aufs';
    this.#ownership = ownership;
  }

  marks(fd: number, path: ByteString): DirectoryMarks {
    const marks = directoryMarks(fd, path, this.#ownership);
    if (marks.redirect) this.redirected = true;
    return this.#aufs && isThere(fd, OPAQUE_MARKER as ByteString, path)
      ? { ...marks, opaque: true }
      : marks;
  }

  /** True when anything below differs. */
  *directory(walk: TreeWalk, path: ByteString, marks: DirectoryMarks): Visit<boolean> {
    const before = this.changes.length;
    const own = walk.fd(OWN);
    const { names, stat } = list(own, path, this.#ownership);
    const present = new Set<string>();
    const deleted = new Set<string>();
    for (const [index, name] of names.entries()) {
      if (this.#aufs && name.startsWith(WHITEOUT_PREFIX)) {
        if (!name.startsWith(META_PREFIX)) deleted.add(name.slice(WHITEOUT_PREFIX.length));
      } else if (this.#isWhiteout(own, name, path, stat, index, marks)) deleted.add(name);
      else present.add(name);
    }
    for (const [index, name] of names.entries()) {
      // In an opaque directory nothing of those below shows, at any depth: a directory in it need
      // not say so itself.
      if (present.has(name))
        yield* this.#entry(walk, name, path, stat, index, marks.opaque || deleted.has(name));
    }
    // An opaque directory deletes all that it does not have.
    if (marks.opaque) for (const name of this.#namesBelow(walk, path)) deleted.add(name);
    for (const name of deleted) {
      if (!present.has(name) && this.#find(walk, name as Name, path) !== undefined)
        this.#add('D', join(path, name as Name));
    }
    return this.changes.length > before;
  }

  *#entry(
    walk: TreeWalk,
    name: Name,
    parent: ByteString,
    stat: Float64Array,
    index: number,
    hides: boolean,
  ): Generator<Below<boolean>, void, boolean> {
    const path = join(parent, name);
    const own = walk.fd(OWN);
    const found = this.#find(walk, name, parent);
    const type = typeOf(stat, index);
    const changed =
      found === undefined ||
      isDifferent(stat, index, found.stat, 0) ||
      !sameCapability(own, walk.fd(found.layer), name, path, type, this.#ownership);
    if (changed) this.#add(found === undefined ? 'A' : 'C', path);
    if (type !== S_IFDIR) return;
    const fd = openChild(own, name, path);
    if (fd === undefined) return;
    const fds = walk.fds.map((_, layer) => (layer === OWN ? fd : NONE));
    const marks = closedOnError(fds, () => {
      if (found !== undefined && typeOf(found.stat, 0) === S_IFDIR)
        this.#descend(walk, found.layer, name, parent, fds);
      return this.marks(fd, path);
    });
    const visit = this.directory(walk, path, hides ? { ...marks, opaque: true } : marks);
    if ((yield { name, fds, visit }) && !changed) this.#add('C', path);
  }

  /**
   * The topmost layer below that has the name, unless one above it deletes it. `path`: of the
   * directory.
   */
  #find(
    walk: TreeWalk,
    name: Name,
    path: ByteString,
  ): { readonly layer: number; readonly stat: Float64Array } | undefined {
    for (const [layer, fd] of walk.fds.entries()) {
      if (layer === OWN || fd === NONE) continue;
      const stat = new Float64Array(STAT_FIELDS);
      const result = statOne(fd, name, join(path, name), this.#ownership, stat);
      if (result >= 0)
        return this.#isWhiteout(fd, name, path, stat, 0, undefined) ? undefined : { layer, stat };
      if (result !== -E.ENOENT) throw unreadable(result, join(path, name));
      if (this.#hides(fd, name, path)) return undefined;
    }
    return undefined;
  }

  #hides(fd: number, name: Name, path: ByteString): boolean {
    const marker = (WHITEOUT_PREFIX + name) as ByteString;
    return this.#aufs && isThere(fd, marker, join(path, marker));
  }

  /**
   * Opens the directory in each layer from `first` on, down to the one that hides what is below it,
   * into `fds`.
   */
  #descend(walk: TreeWalk, first: number, name: Name, parent: ByteString, fds: number[]): void {
    const path = join(parent, name);
    for (const [layer, fd] of walk.fds.entries()) {
      if (layer < first || fd === NONE) continue;
      const child = openBelow(fd, name);
      if (child === -E.ENOENT) {
        if (this.#hides(fd, name, parent)) break;
        continue;
      }
      // A whiteout, or a file.
      if (child === -E.ENOTDIR || child === -E.ELOOP) break;
      if (child < 0) throw unreadable(child, path);
      fds[layer] = child;
      if (this.marks(child, path).opaque || this.#hides(fd, name, parent)) break;
    }
  }

  #namesBelow(walk: TreeWalk, path: ByteString): Name[] {
    return walk.fds.flatMap((fd, layer) => {
      if (layer === OWN || fd === NONE) return [];
      const names = namesIn(fd);
      if (typeof names === 'number') throw unreadable(names, path);
      return this.#aufs ? names.filter((name) => !name.startsWith(WHITEOUT_PREFIX)) : names;
    });
  }

  /** `path` and `marks`: of the directory, its marks where they are known already. */
  #isWhiteout(
    dirfd: number,
    name: Name,
    path: ByteString,
    stat: Float64Array,
    index: number,
    marks: DirectoryMarks | undefined,
  ): boolean {
    const at = index * STAT_FIELDS;
    const type = typeOf(stat, index);
    if (type === S_IFCHR)
      return stat[at + StatField.RdevMajor] === 0 && stat[at + StatField.RdevMinor] === 0;
    if (type !== S_IFREG || stat[at + StatField.Size] !== 0) return false;
    if (!(marks ?? directoryMarks(dirfd, path, this.#ownership)).xattrWhiteouts) return false;
    return isXattrWhiteout(dirfd, name, join(path, name), this.#ownership);
  }

  #add(kind: Change['kind'], path: ByteString): void {
    this.changes.push({ kind, path: `/${path}` as ByteString });
  }
}

function typeOf(stat: Float64Array, index: number): number {
  return (stat[index * STAT_FIELDS + StatField.Mode] as number) & S_IFMT;
}
