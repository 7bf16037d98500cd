/**
 * What one tree has that another has not: the letters of `docker diff` (moby, pkg/archive,
 * changes.go and changes_linux.go).
 */
import type { ByteString, Name } from '../base/bytes.js';
import { S_IFDIR, S_IFMT, S_IFREG } from '../sys/constants.js';
import { FileIdentities } from '../overlay/file-identity.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { LayerRoot } from '../overlay/layer-root.js';
import { fileXattr } from '../overlay/layer-marks.js';
import { join, list, openChild, orUnreadable, type Listing } from '../overlay/tree-reader.js';
import {
  closedOnError,
  walkTrees,
  type Below,
  type TreeWalk,
  type Visit,
} from '../overlay/walk-trees.js';
import type { Ownership } from '../overlay/form.js';

export interface Change {
  /** Added, changed, deleted. */
  readonly kind: 'A' | 'C' | 'D';
  /** Absolute within the layer, as `/etc/passwd`. Never `/` itself. */
  readonly path: ByteString;
}

const CAPABILITY = 'security.capability' as ByteString;
const EMPTY = '' as ByteString;
/** The trees of the walk. */
const NEW = 0;
const OLD = 1;
/** The descriptor of what is not there. */
const NONE = -1;

/**
 * The naive diff: both trees are walked, except where one file is in both. Without an old tree
 * everything is added. Sorted by path in byte order, which has directories before what is in them.
 * Throws `layer-missing`, `tree-unreadable`.
 */
export function compareTrees(
  newRoot: string,
  oldRoot: string | undefined,
  options: { ownership?: Ownership } = {},
): Change[] {
  const comparison = new Comparison(options.ownership ?? 'real');
  const newer = LayerRoot.open(newRoot);
  try {
    const older = oldRoot === undefined ? undefined : LayerRoot.open(oldRoot);
    try {
      const roots = [newer.fd, older?.fd ?? NONE];
      orUnreadable(EMPTY, () => walkTrees(roots, (walk) => comparison.directories(walk, EMPTY)));
    } finally {
      older?.close();
    }
  } finally {
    newer.close();
  }
  return sortChanges(comparison.changes);
}

export function sortChanges(changes: Change[]): Change[] {
  return changes.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

const nothing: Listing = { names: [], stat: new Float64Array(0) };

class Comparison {
  readonly changes: Change[] = [];
  readonly #ownership: Ownership;
  readonly #identities = new FileIdentities();

  constructor(ownership: Ownership) {
    this.#ownership = ownership;
  }

  /** True when anything below differs. */
  *directories(walk: TreeWalk, path: ByteString): Visit<boolean> {
    const before = this.changes.length;
    const newer = list(walk.fd(NEW), path, this.#ownership);
    const older = walk.fd(OLD) < 0 ? nothing : list(walk.fd(OLD), path, this.#ownership);
    const indices = new Map<Name, number>(older.names.map((name, index) => [name, index]));
    for (const [index, name] of newer.names.entries()) {
      const oldIndex = indices.get(name);
      indices.delete(name);
      yield* this.#entry(walk, name, join(path, name), newer.stat, index, older.stat, oldIndex);
    }
    for (const name of indices.keys()) this.#add('D', join(path, name));
    return this.changes.length > before;
  }

  *#entry(
    walk: TreeWalk,
    name: Name,
    path: ByteString,
    newer: Float64Array,
    index: number,
    older: Float64Array,
    oldIndex: number | undefined,
  ): Generator<Below<boolean>, void, boolean> {
    const isDirectory = typeOf(newer, index) === S_IFDIR;
    if (oldIndex === undefined) {
      this.#add('A', path);
      if (isDirectory) yield* this.#below(walk, name, path, false);
      return;
    }
    const [newFd, oldFd] = [walk.fd(NEW), walk.fd(OLD)];
    if (orUnreadable(path, () => this.#isOne(newFd, oldFd, name, newer, index, older, oldIndex)))
      return;
    const changed =
      isDifferent(newer, index, older, oldIndex) ||
      !sameCapability(newFd, oldFd, name, path, typeOf(newer, index), this.#ownership);
    if (changed) this.#add('C', path);
    if (!isDirectory) return;
    const wasDirectory = typeOf(older, oldIndex) === S_IFDIR;
    // A directory that is what it was is named because of what is in it.
    if ((yield* this.#below(walk, name, path, wasDirectory)) && !changed) this.#add('C', path);
  }

  /** `inOld`: the old tree has such a directory, too. */
  *#below(
    walk: TreeWalk,
    name: Name,
    path: ByteString,
    inOld: boolean,
  ): Generator<Below<boolean>, boolean, boolean> {
    const newChild = openChild(walk.fd(NEW), name, path);
    if (newChild === undefined) return false;
    const fds = closedOnError([newChild], () => [
      newChild,
      (inOld ? openChild(walk.fd(OLD), name, path) : undefined) ?? NONE,
    ]);
    return yield { name, fds, visit: this.directories(walk, path) };
  }

  /** Both trees have the same file there. */
  #isOne(
    newFd: number,
    oldFd: number,
    name: Name,
    newer: Float64Array,
    index: number,
    older: Float64Array,
    oldIndex: number,
  ): boolean {
    if (identity.some((field) => get(newer, index, field) !== get(older, oldIndex, field)))
      return false;
    const file = this.#identities.keyOf(newFd, name, newer, index);
    return file !== undefined && file === this.#identities.keyOf(oldFd, name, older, oldIndex);
  }

  #add(kind: Change['kind'], path: ByteString): void {
    this.changes.push({ kind, path: `/${path}` as ByteString });
  }
}

function get(stat: Float64Array, index: number, field: StatField): number {
  return stat[index * STAT_FIELDS + field] as number;
}

function typeOf(stat: Float64Array, index: number): number {
  return get(stat, index, StatField.Mode) & S_IFMT;
}

const identity = [
  StatField.InoLow,
  StatField.InoHigh,
  StatField.DevMajor,
  StatField.DevMinor,
] as const;
const compared = [
  StatField.Mode,
  StatField.Uid,
  StatField.Gid,
  StatField.RdevMajor,
  StatField.RdevMinor,
] as const;

/**
 * Neither inode nor change time: both are new on a copy. A directory's size and time say nothing of
 * it.
 */
export function isDifferent(
  newer: Float64Array,
  index: number,
  older: Float64Array,
  oldIndex: number,
): boolean {
  if (compared.some((field) => get(newer, index, field) !== get(older, oldIndex, field)))
    return true;
  if (typeOf(newer, index) === S_IFDIR) return false;
  return (
    get(newer, index, StatField.Size) !== get(older, oldIndex, StatField.Size) ||
    !sameTime(newer, index, older, oldIndex)
  );
}

/** Of tars and file systems, some keep whole seconds only. */
function sameTime(
  newer: Float64Array,
  index: number,
  older: Float64Array,
  oldIndex: number,
): boolean {
  if (get(newer, index, StatField.MtimeSec) !== get(older, oldIndex, StatField.MtimeSec))
    return false;
  const [a, b] = [
    get(newer, index, StatField.MtimeNsec),
    get(older, oldIndex, StatField.MtimeNsec),
  ];
  return a === b || a === 0 || b === 0;
}

/** Throws `tree-unreadable`. */
export function sameCapability(
  newFd: number,
  oldFd: number,
  name: ByteString,
  path: ByteString,
  type: number,
  ownership: Ownership,
): boolean {
  if (type !== S_IFREG) return true;
  const [a, b] = [
    fileXattr(newFd, name, CAPABILITY, path, ownership),
    fileXattr(oldFd, name, CAPABILITY, path, ownership),
  ];
  return a === undefined || b === undefined ? a === b : a.equals(b);
}
