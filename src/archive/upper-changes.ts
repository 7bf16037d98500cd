/**
 * What a layer changes over those below, read from its own directory: names in the layers below are
 * looked up, their trees are not walked. The letters are those of the naive diff (changes.ts) of
 * the mounted layer against what is below it.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { S_IFCHR, S_IFDIR, S_IFMT, S_IFREG } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { isDifferent, sameCapability, sortChanges, type Change } from './changes.js';
import { META_PREFIX, OPAQUE_MARKER, WHITEOUT_PREFIX } from './entry-path.js';
import { directoryMarks, isXattrWhiteout, type DirectoryMarks } from '../overlay/layer-marks.js';
import { LayerRoot, namesIn, openBelow } from '../overlay/layer-root.js';
import { isThere, join, list, openChild, statOne, unreadable } from '../overlay/tree-reader.js';
import type { Ownership } from '../overlay/form.js';

export interface UpperDirectories {
  readonly own: string;
  /** Topmost first. */
  readonly below: readonly string[];
  readonly form: 'overlay' | 'aufs';
}

/** A directory in the layers below, merged: one descriptor a layer that has it, topmost first. */
type Merged = readonly number[];

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
    const own = open(directories.own);
    const below: number[] = [];
    for (const path of directories.below) {
      below.push(open(path));
      if (comparison.marks(below[below.length - 1]!, ROOT).opaque) break;
    }
    comparison.directory(own, below, ROOT, comparison.marks(own, ROOT));
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
  directory(own: number, below: Merged, path: ByteString, marks: DirectoryMarks): boolean {
    const before = this.changes.length;
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
        this.#entry(own, name, path, stat, index, below, marks.opaque || deleted.has(name));
    }
    // An opaque directory deletes all that it does not have.
    if (marks.opaque) for (const name of this.#namesOf(below, path)) deleted.add(name);
    for (const name of deleted) {
      if (!present.has(name) && this.#find(below, name as Name, path) !== undefined)
        this.#add('D', join(path, name as Name));
    }
    return this.changes.length > before;
  }

  #entry(
    own: number,
    name: Name,
    parent: ByteString,
    stat: Float64Array,
    index: number,
    below: Merged,
    hides: boolean,
  ): void {
    const path = join(parent, name);
    const found = this.#find(below, name, parent);
    const type = typeOf(stat, index);
    const changed =
      found === undefined ||
      isDifferent(stat, index, found.stat, 0) ||
      !sameCapability(own, below[found.layer]!, name, path, type, this.#ownership);
    if (changed) this.#add(found === undefined ? 'A' : 'C', path);
    if (type !== S_IFDIR) return;
    const fd = openChild(own, name, path);
    if (fd === undefined) return;
    const lowers =
      found === undefined || typeOf(found.stat, 0) !== S_IFDIR
        ? []
        : this.#descend(below, found.layer, name, parent);
    try {
      const marks = this.marks(fd, path);
      const inside = this.directory(fd, lowers, path, hides ? { ...marks, opaque: true } : marks);
      if (inside && !changed) this.#add('C', path);
    } finally {
      sys.close(fd);
      for (const lower of lowers) sys.close(lower);
    }
  }

  /**
   * The topmost layer below that has the name, unless one above it deletes it. `path`: of the
   * directory.
   */
  #find(
    below: Merged,
    name: Name,
    path: ByteString,
  ): { readonly layer: number; readonly stat: Float64Array } | undefined {
    for (const [layer, fd] of below.entries()) {
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
   * The directory in each layer from `first` on, down to the one that hides what is below it. The
   * caller closes them.
   */
  #descend(below: Merged, first: number, name: Name, parent: ByteString): number[] {
    const path = join(parent, name);
    const found: number[] = [];
    for (const fd of below.slice(first)) {
      const child = openBelow(fd, name);
      if (child === -E.ENOENT) {
        if (this.#hides(fd, name, parent)) break;
        continue;
      }
      // A whiteout, or a file.
      if (child === -E.ENOTDIR || child === -E.ELOOP) break;
      if (child < 0) throw unreadable(child, path);
      found.push(child);
      if (this.marks(child, path).opaque || this.#hides(fd, name, parent)) break;
    }
    return found;
  }

  #namesOf(below: Merged, path: ByteString): Name[] {
    return below.flatMap((fd) => {
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
