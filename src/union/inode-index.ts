/**
 * The inodes index: `workdir`/index, as the kernel keeps it with `index=on` (overlayfs.rst,
 * "Index"; fs/overlayfs/namei.c, util.c, copy_up.c).
 *
 * A lower file with several names is copied up to an entry there, and each of its names in the
 * upper is a hard link to that. The entry's name is the hexadecimal form of the file's
 * `overlay.origin`, so that any of the lower names leads to the copy, in every mount.
 * `overlay.nlink` on the copy says how many names the union shows, relative to how many the copy
 * has (`U+2`) or the lower file has (`L-1`): it is right before and after each single call that
 * gives the copy a name or takes one, so nothing has to be mended after a crash.
 *
 * What no name leads to any more, and what a kernel left half made, goes at the next mount. Entries
 * of directories and whiteouts (`nfs_export=on`) are left alone.
 */
import { textOf, type ByteString, type Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { sys } from '../sys/index.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import type { DiskDirectory } from '../overlay/disk-directory.js';
import { UPPER, type LayerDirectory } from '../overlay/layer.js';
import type { Node, LinkGroup } from './node.js';
import type { Origins } from './origin.js';
import { readXattr } from '../overlay/marks.js';
import { setXattrAsOwner } from '../overlay/owner-rights.js';
import {
  field,
  fileType,
  isWhiteoutDevice,
  newStatBuffer,
  S_IFDIR,
} from '../overlay/stat-buffer.js';
import type { UpperLayer } from './upper-layer.js';
import { sweep } from './workdir.js';

const INDEX = 'index' as Name;
const ITSELF = '' as ByteString;
/** Hexadecimal, of a header of 21 bytes and a handle. */
const ENTRY = /^(?:[0-9a-f]{2}){22,}$/;
/** `U` or `L`, and the names shown less those of the upper or the lower file. */
const NAMES = /^([UL])([+-]\d{1,9})$/;

const entryStat = newStatBuffer();
const rootStat = newStatBuffer();

/** A copy that the index has. */
export interface IndexedCopy {
  /** Links of the copy, the entry's own among them. */
  readonly links: number;
  /** Names that the union shows; undefined when that was not recorded. */
  readonly names: number | undefined;
}

export class InodeIndex {
  readonly directory: DiskDirectory;
  readonly #upper: UpperLayer;
  readonly #origins: Origins;

  constructor(directory: DiskDirectory, upper: UpperLayer, origins: Origins) {
    this.directory = directory;
    this.#upper = upper;
    this.#origins = origins;
  }

  /**
   * The entry that the file `name` in `holder` has, or will have when it is copied up; entry
   * `index` of `stat`: its attributes. Undefined for one that is not indexed: a file of the upper
   * that is no such copy, or one of a lower without file handles. Throws `Errno`.
   */
  entryOf(
    holder: LayerDirectory,
    name: ByteString,
    stat: Float64Array,
    index: number,
  ): Name | undefined {
    if (holder.layer.index !== UPPER) {
      const origin = this.#origins.encode(holder, name, stat.subarray(index * STAT_FIELDS));
      return origin.length === 0 ? undefined : entryName(origin);
    }
    const origin = readXattr(holder, name, this.#upper.attribute('origin'));
    return typeof origin === 'number' || origin.length === 0
      ? undefined
      : this.entryFor(origin, stat, index);
  }

  /**
   * The entry of the origin `origin`, if its copy is the object whose attributes are entry `index`
   * of `stat`.
   */
  entryFor(origin: Buffer, stat: Float64Array, index: number): Name | undefined {
    const entry = entryName(origin);
    if (!ENTRY.test(entry) || this.directory.stat(entry, entryStat, 0) < 0) return undefined;
    const same = [StatField.DevMajor, StatField.DevMinor, StatField.InoLow, StatField.InoHigh];
    return same.every((which) => field(stat, index, which) === field(entryStat, 0, which))
      ? entry
      : undefined;
  }

  /**
   * The copy under the entry; undefined when there is none. `lowerNames`: links of the lower file.
   * Throws EIO for an entry that is no copy of a file of `type`.
   */
  find(entry: Name, type: number, lowerNames: number): IndexedCopy | undefined {
    const found = this.directory.stat(entry, entryStat, 0);
    if (found === -E.ENOENT) return undefined;
    check(found, entry);
    // As ovl_lookup_index: whoever shows the lower file instead would show what was deleted, or
    // changed.
    if (fileType(entryStat, 0) !== type || isWhiteoutDevice(entryStat, 0))
      throw new Errno(E.EIO, 'a bad entry of the index');
    const links = field(entryStat, 0, StatField.Nlink);
    return { links, names: this.#names(entry, links, lowerNames) };
  }

  #names(entry: Name, links: number, lowerNames: number): number | undefined {
    const value = readXattr(this.directory, entry, this.#upper.attribute('nlink'));
    const [, relative, difference] =
      typeof value === 'number' ? [] : (NAMES.exec(value.toString('latin1')) ?? []);
    if (relative === undefined) return undefined;
    return Math.max(0, (relative === 'U' ? links : lowerNames) + Number(difference));
  }

  /**
   * Records, on the copy `name` in `dirfd`, how many names the union shows of it. `links`: those
   * that the copy has, or is about to have.
   */
  record(dirfd: number, name: ByteString, relative: 'U' | 'L', names: number, links: number): void {
    const difference = names - links;
    const value = Buffer.from(`${relative}${difference < 0 ? '' : '+'}${difference}`);
    check(setXattrAsOwner(dirfd, name, this.#upper.attribute('nlink'), value, 0), 'nlink');
  }

  /**
   * The same for a file that is indexed: `L` before the copy gets a further link in place of a
   * lower name, `U` after that, and before it gets or loses one that the union counts (ovl_link_up,
   * ovl_nlink_start).
   */
  recordNode(group: LinkGroup, relative: 'U' | 'L'): void {
    const entry = group.entry as Name;
    check(this.directory.stat(entry, entryStat, 0), entry);
    const links = field(entryStat, 0, StatField.Nlink);
    const names = links - 1 + group.remaining;
    this.record(
      this.directory.fd(),
      entry,
      relative,
      names,
      relative === 'U' ? links : group.lowerNames,
    );
  }

  /**
   * The last name of a node is gone: its copy leaves the index, and stays in the workdir as long as
   * the kernel knows the node.
   */
  dropUnnamed(node: Node): void {
    const group = node.links;
    if (
      group?.indexed !== true ||
      group.remaining > 0 ||
      this.directory.stat(group.entry as Name, entryStat, 0) < 0
    )
      return;
    if (field(entryStat, 0, StatField.Nlink) > 1) return;
    const entry = group.entry as Name;
    // The name is gone whatever becomes of the entry: one that stays goes at the next mount.
    if (node.lookups === 0) {
      if (sys.unlinkat(this.directory.fd(), entry, 0) >= 0) group.indexed = false;
      return;
    }
    const temporary = this.#upper.temporaryName();
    if (sys.renameat2(this.directory.fd(), entry, this.#upper.work.fd(), temporary, 0) < 0) return;
    group.indexed = false;
    node.holder = this.#upper.work;
    node.name = temporary;
    node.parked = true;
  }

  /**
   * Stale entries, entries of files that no name leads to, and what is not finished. Throws
   * `Errno`; EINVAL for what no overlay put there.
   */
  clean(): void {
    const entries: Name[] = [];
    check(
      this.directory.list((name) => entries.push(name)),
      'index',
    );
    for (const entry of entries) {
      // The kernel makes there what is not finished.
      if (entry.startsWith('#')) sweep(this.directory, entry);
      else if (this.#isUseless(entry)) check(sys.unlinkat(this.directory.fd(), entry, 0), entry);
    }
  }

  /** As ovl_verify_index without `nfs_export`. */
  #isUseless(entry: Name): boolean {
    if (!ENTRY.test(entry)) throw new Errno(E.EINVAL, entry);
    check(this.directory.stat(entry, entryStat, 0), entry);
    const type = fileType(entryStat, 0);
    if (type === S_IFDIR || isWhiteoutDevice(entryStat, 0)) return false;
    const links = field(entryStat, 0, StatField.Nlink);
    const origin = readXattr(this.directory, entry, this.#upper.attribute('origin'));
    if (typeof origin === 'number')
      throw new Errno(origin === -E.ENODATA ? E.EINVAL : -origin, entry);
    if (entryName(origin) !== entry) return true;
    if (links > 1) return false;
    const lower = this.#origins.resolve(origin, type, undefined);
    return lower === undefined || (this.#names(entry, links, lower.names) ?? 0) === 0;
  }
}

function entryName(origin: Buffer): Name {
  return origin.toString('hex') as Name;
}

/**
 * Opens the index of an upper, made if it is not there. Null, and `warn` is told, where it cannot
 * be kept: as the kernel, the mount goes on without. Throws `PlyfsError` when the upper was used
 * over another lower, or the index with another upper.
 */
export function openIndex(
  upper: UpperLayer,
  lowers: readonly LayerDirectory[],
  origins: Origins,
  upperPath: ByteString,
  warn: (sentence: string) => void,
): InodeIndex | null {
  const shown = textOf(upperPath);
  const withoutHandles = [upper.root, ...lowers].find((root) => !origins.canFind(root));
  if (!upper.features.marks || upper.reservesMarkers || withoutHandles !== undefined) {
    const reason =
      withoutHandles === undefined
        ? `upperdir ${shown} takes no attributes or whiteouts of the kernel's form`
        : `the file system of ${withoutHandles === upper.root ? `upperdir ${shown}` : 'a lowerdir'} gives no lasting file handles, or this user may not open files by them`;
    warn(`index=on is not possible: ${reason}. Hard links of lower files part at the next mount.`);
    return null;
  }
  const workdir = upper.work.parent as DiskDirectory;
  try {
    const made = sys.mkdirat(workdir.fd(), INDEX, 0o700);
    if (made !== -E.EEXIST) check(made, INDEX);
    const index = new InodeIndex(workdir.descend(INDEX), upper, origins);
    const lower = lowers[0] as LayerDirectory;
    const belongs = (directory: DiskDirectory, suffix: string, to: LayerDirectory): boolean => {
      check(to.stat(ITSELF, rootStat, 0), 'stat');
      const value = origins.encode(to, ITSELF, rootStat);
      const known = readXattr(directory, ITSELF, upper.attribute(suffix));
      if (typeof known !== 'number') return known.equals(value);
      if (known !== -E.ENODATA) check(known, suffix);
      check(sys.setxattrat(directory.fd(), ITSELF, upper.attribute(suffix), value, 0), suffix);
      return true;
    };
    if (!belongs(upper.root, 'origin', lower)) {
      throw new PlyfsError(
        'index-other-lower',
        `upperdir ${shown} was used with index=on over another lowerdir: give that one, or a fresh upperdir and workdir.`,
      );
    }
    if (!belongs(index.directory, 'upper', upper.root)) {
      throw new PlyfsError(
        'index-other-upper',
        `the index in the workdir of upperdir ${shown} belongs to another upperdir, or to one that was copied: mount with index=off, or with a fresh workdir.`,
      );
    }
    index.clean();
    return index;
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    throw new PlyfsError(
      'index-unusable',
      `the index in the workdir of upperdir ${shown} cannot be used (${reasonOf(error.errno)}): mount with index=off, or with a fresh workdir.`,
    );
  }
}
