/**
 * What one tree has that another has not: the letters of `docker diff` (moby, pkg/archive,
 * changes.go and changes_linux.go).
 */
import type { ByteString, Name } from '../base/bytes.js';
import { S_IFDIR, S_IFMT, S_IFREG } from '../sys/constants.js';
import { FileIdentities } from '../overlay/file-identity.js';
import { sys } from '../sys/index.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { LayerRoot } from '../overlay/layer-root.js';
import { fileXattr } from '../overlay/layer-marks.js';
import { join, list, openChild, orUnreadable, type Listing } from '../overlay/tree-reader.js';
import type { Ownership } from '../overlay/form.js';

export interface Change {
  /** Added, changed, deleted. */
  readonly kind: 'A' | 'C' | 'D';
  /** Absolute within the layer, as `/etc/passwd`. Never `/` itself. */
  readonly path: ByteString;
}

const CAPABILITY = 'security.capability' as ByteString;
const EMPTY = '' as ByteString;

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
      comparison.directories(newer.fd, older?.fd, EMPTY);
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
  directories(newFd: number, oldFd: number | undefined, path: ByteString): boolean {
    const before = this.changes.length;
    const newer = list(newFd, path, this.#ownership);
    const older = oldFd === undefined ? nothing : list(oldFd, path, this.#ownership);
    const indices = new Map<Name, number>(older.names.map((name, index) => [name, index]));
    for (const [index, name] of newer.names.entries()) {
      const oldIndex = indices.get(name);
      indices.delete(name);
      this.#entry(newFd, oldFd, name, join(path, name), newer.stat, index, older.stat, oldIndex);
    }
    for (const name of indices.keys()) this.#add('D', join(path, name));
    return this.changes.length > before;
  }

  #entry(
    newFd: number,
    oldFd: number | undefined,
    name: Name,
    path: ByteString,
    newer: Float64Array,
    index: number,
    older: Float64Array,
    oldIndex: number | undefined,
  ): void {
    const isDirectory = typeOf(newer, index) === S_IFDIR;
    if (oldFd === undefined || oldIndex === undefined) {
      this.#add('A', path);
      if (isDirectory) this.#below(newFd, undefined, name, path);
      return;
    }
    if (orUnreadable(path, () => this.#isOne(newFd, oldFd, name, newer, index, older, oldIndex)))
      return;
    const changed =
      isDifferent(newer, index, older, oldIndex) ||
      !sameCapability(newFd, oldFd, name, path, typeOf(newer, index), this.#ownership);
    if (changed) this.#add('C', path);
    if (!isDirectory) return;
    const wasDirectory = typeOf(older, oldIndex) === S_IFDIR;
    // A directory that is what it was is named because of what is in it.
    if (this.#below(newFd, wasDirectory ? oldFd : undefined, name, path) && !changed)
      this.#add('C', path);
  }

  #below(newFd: number, oldFd: number | undefined, name: Name, path: ByteString): boolean {
    const newChild = openChild(newFd, name, path);
    if (newChild === undefined) return false;
    try {
      const oldChild = oldFd === undefined ? undefined : openChild(oldFd, name, path);
      try {
        return this.directories(newChild, oldChild, path);
      } finally {
        if (oldChild !== undefined) sys.close(oldChild);
      }
    } finally {
      sys.close(newChild);
    }
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
