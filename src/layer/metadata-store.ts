/**
 * `image/<driver>/layerdb/`: what Docker's layer store knows of its layers, as files (moby,
 * layer/filestore.go).
 *
 *     sha256/<chain>/ a read-only layer: diff, size, cache-id, parent, tar-split.json.gz
 *     sha256/<chain>-<hex>-removing/  one whose deletion has begun
 *     mounts/<name>/                  a read-write layer: mount-id, init-id, parent
 *     tmp/write-set-<random>/         either of them on its way in, or a mount on its way out
 *
 * A directory enters and leaves `sha256/` and `mounts/` whole, by one rename, so a reader needs no
 * lock. Two things are this program's own, and harmless to Docker: a write-set names its `cache-id`
 * or `mount-id` before the driver makes that directory, so that what a killed process left can be
 * told; and whoever works on a write-set or a `-removing` directory holds flock(2) on it, so that
 * it can be told from what was left.
 *
 * Callers hold the store's lock (root-lock.ts) for whatever changes `sha256/` and `mounts/`, and
 * for making and finding write-sets.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, lstatSync, mkdirSync, openSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { ONE_THING, parseJson } from '../base/bounded-json.js';
import {
  chainIdOf,
  digestOfHex,
  hexOf,
  parseDigest,
  type ChainId,
  type DiffId,
} from '../base/digest.js';
import { syncDirectory } from '../base/durable-file.js';
import { parseCacheId, parseMountId, randomId, type CacheId, type MountId } from '../base/ids.js';
import { assertDirectories, makeDirectories } from '../sys/stored-file.js';
import {
  namesIn,
  openDirectory,
  readId,
  readRegularFile,
  readSize,
  required,
  Unusable,
} from './metadata-files.js';
import { isInUse, isNoDirectory, WriteSet } from './write-set.js';

export const TAR_SPLIT = 'tar-split.json.gz';

/** A read-only layer as its directory says; its parent may be missing. */
export interface StoredLayer {
  readonly chainId: ChainId;
  readonly diffId: DiffId;
  readonly parent: ChainId | undefined;
  readonly size: number;
  readonly cacheId: CacheId;
  readonly descriptor?: unknown;
}

/** A read-write layer as its directory says; its parent may be missing. */
export interface StoredMount {
  readonly name: string;
  readonly mountId: MountId;
  readonly initId: MountId | undefined;
  readonly parent: ChainId | undefined;
}

/** A directory that does not say what it should, and what of it others might still need. */
export interface Damaged {
  /** The rest of a sentence that begins with its path. */
  readonly reason: string;
  readonly parent: ChainId | undefined;
  /** Of the driver's directories. */
  readonly ids: readonly string[];
  /** It may have named others. */
  readonly idsUnknown: boolean;
}

/** A write-set or a `-removing` directory. */
export interface Unfinished {
  readonly path: string;
  /** The driver's directories that it names. */
  readonly ids: readonly string[];
  /** Somebody works on it. */
  readonly inUse: boolean;
}

const WRITE_SET = 'write-set-';
const removingPattern = /^[0-9a-f]{64}-[0-9a-f]{64}-removing$/;
const mountNamePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/;

export function isMountName(name: string): boolean {
  return mountNamePattern.test(name);
}

export function isDamaged(found: StoredLayer | StoredMount | Damaged): found is Damaged {
  return 'reason' in found;
}

const parseChainId = (text: string): ChainId | undefined =>
  parseDigest(text) as ChainId | undefined;
const parseDiffId = (text: string): DiffId | undefined => parseDigest(text) as DiffId | undefined;

export class MetadataStore {
  readonly layersPath: string;
  readonly mountsPath: string;
  readonly temporaryPath: string;
  readonly #layers: RememberingDirectory<ChainId, StoredLayer>;
  readonly #mounts: RememberingDirectory<string, StoredMount>;

  /**
   * `path`: the layerdb; made unless `readOnly`. Throws `root-damaged` when one of its directories
   * is something else.
   */
  constructor(path: string, options: { readOnly: boolean }) {
    this.layersPath = join(path, 'sha256');
    this.mountsPath = join(path, 'mounts');
    this.temporaryPath = join(path, 'tmp');
    if (!options.readOnly) {
      makeDirectories([path], 0o700);
      makeDirectories([this.layersPath, this.mountsPath], 0o755);
      makeDirectories([this.temporaryPath], 0o700);
    }
    assertDirectories([path, this.layersPath, this.mountsPath, this.temporaryPath]);
    this.#layers = new RememberingDirectory(
      this.layersPath,
      (name) => digestOfHex(name) as ChainId | undefined,
      readLayer,
    );
    this.#mounts = new RememberingDirectory(this.mountsPath, (name) => name, readMount);
  }

  layerPath(chainId: ChainId): string {
    return join(this.layersPath, hexOf(chainId));
  }

  mountPath(name: string): string {
    return join(this.mountsPath, name);
  }

  /** Whatever is there. */
  hasMount(name: string): boolean {
    return lstatSync(this.mountPath(name), { throwIfNoEntry: false }) !== undefined;
  }

  layers(): ReadonlyMap<ChainId, StoredLayer | Damaged> {
    return this.#layers.read();
  }

  mounts(): ReadonlyMap<string, StoredMount | Damaged> {
    return this.#mounts.read();
  }

  /** Empty, and the caller's until it is moved into the store and closed, or removed. */
  createWriteSet(): WriteSet {
    const path = this.#newWriteSetPath();
    mkdirSync(path, { mode: 0o700 });
    return WriteSet.lock(path);
  }

  /** Throws when a directory of this chain is there, and then the write-set is where it was. */
  commitLayer(writeSet: WriteSet, chainId: ChainId): void {
    commit(writeSet, this.layerPath(chainId), this.layersPath);
  }

  commitMount(writeSet: WriteSet, name: string): void {
    writeSet.chmod(0o755);
    commit(writeSet, this.mountPath(name), this.mountsPath);
  }

  /**
   * Takes a layer out of the store. `syncLayers`, then the driver's directory is removed, then what
   * is returned.
   */
  beginRemovingLayer(chainId: ChainId): WriteSet {
    const removing = WriteSet.lock(this.layerPath(chainId));
    removing.moveTo(`${removing.path}-${randomId()}-removing`);
    return removing;
  }

  syncLayers(): void {
    syncDirectory(this.layersPath);
  }

  /**
   * Takes a mount out of the store. Its directories are the driver's to remove, then what is
   * returned.
   */
  beginRemovingMount(name: string): WriteSet {
    const removing = WriteSet.lock(this.mountPath(name));
    removing.moveTo(this.#newWriteSetPath());
    syncDirectory(this.mountsPath);
    return removing;
  }

  /** `newName` must be free. */
  renameMount(name: string, newName: string): void {
    renameSync(this.mountPath(name), this.mountPath(newName));
    syncDirectory(this.mountsPath);
  }

  unfinished(): Unfinished[] {
    const writeSets = namesIn(this.temporaryPath).filter((name) => name.startsWith(WRITE_SET));
    const removing = namesIn(this.layersPath).filter((name) => removingPattern.test(name));
    return [
      ...writeSets.map((name) => join(this.temporaryPath, name)),
      ...removing.map((name) => join(this.layersPath, name)),
    ].map((path) => ({ path, inUse: isInUse(path), ids: idsAt(path) }));
  }

  #newWriteSetPath(): string {
    return join(this.temporaryPath, WRITE_SET + randomBytes(8).toString('hex'));
  }
}

function commit(writeSet: WriteSet, path: string, directory: string): void {
  const before = writeSet.path;
  writeSet.moveTo(path);
  try {
    syncDirectory(directory);
  } catch (error) {
    writeSet.moveTo(before);
    throw error;
  }
  writeSet.close();
}

interface Remembered<Stored> {
  readonly stamp: string;
  readonly found: Stored | Damaged;
}

/** The entries of `sha256/` or `mounts/`. Each is read once as long as it is the same directory. */
class RememberingDirectory<Key, Stored extends StoredLayer | StoredMount> {
  #remembered = new Map<Key, Remembered<Stored>>();

  constructor(
    readonly path: string,
    readonly keyOf: (name: string) => Key | undefined,
    /** Throws `Unusable`. */
    readonly readEntry: (dirfd: number, key: Key) => Stored,
  ) {}

  read(): ReadonlyMap<Key, Stored | Damaged> {
    const remembered = new Map<Key, Remembered<Stored>>();
    const found = new Map<Key, Stored | Damaged>();
    const names = namesIn(this.path);
    if (names.length > 0) {
      const dirfd = openSync(
        this.path,
        constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW,
      );
      try {
        for (const name of names) {
          const key = this.keyOf(name);
          if (key === undefined) continue;
          const entry = this.#entry(dirfd, name, key);
          if (entry === undefined) continue;
          remembered.set(key, entry);
          found.set(key, entry.found);
        }
      } finally {
        closeSync(dirfd);
      }
    }
    this.#remembered = remembered;
    return found;
  }

  /** Undefined when it is not there any more. */
  #entry(dirfd: number, name: string, key: Key): Remembered<Stored> | undefined {
    const before = this.#remembered.get(key);
    while (true) {
      const stamp = stampOf(join(this.path, name));
      if (stamp === undefined) return undefined;
      if (before?.stamp === stamp) return before;
      const found = this.#readEntry(dirfd, name, key);
      // What was taken out while it was read is not damaged.
      if (found !== undefined && (!isDamaged(found) || stampOf(join(this.path, name)) === stamp))
        return { stamp, found };
    }
  }

  #readEntry(dirfd: number, name: string, key: Key): Stored | Damaged | undefined {
    let fd: number | undefined;
    try {
      fd = openDirectory(dirfd, name);
      return fd === undefined ? undefined : this.readEntry(fd, key);
    } catch (error) {
      if (!(error instanceof Unusable)) throw error;
      return {
        reason: error.message,
        ...(fd === undefined ? { parent: undefined, ids: [], idsUnknown: true } : salvage(fd)),
      };
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
}

function readLayer(dirfd: number, chainId: ChainId): StoredLayer {
  const diffId = required(readId(dirfd, 'diff', parseDiffId), 'diff');
  const parent = readId(dirfd, 'parent', parseChainId);
  // Also why no layer can be among its own ancestors.
  if (chainIdOf(parent, diffId) !== chainId)
    throw new Unusable('is not named by the ChainID of its parent and diff');
  const size = required(readSize(dirfd), 'size');
  const cacheId = required(readId(dirfd, 'cache-id', parseCacheId), 'cache-id');
  const descriptor = readDescriptor(dirfd);
  return {
    chainId,
    diffId,
    parent,
    size,
    cacheId,
    ...(descriptor !== undefined && { descriptor }),
  };
}

function readDescriptor(dirfd: number): unknown {
  const json = readRegularFile(dirfd, 'descriptor.json', 'descriptor');
  if (json === undefined) return undefined;
  try {
    return parseJson(json, ONE_THING);
  } catch {
    throw new Unusable('has a descriptor.json that is not JSON');
  }
}

function readMount(dirfd: number, name: string): StoredMount {
  if (!isMountName(name)) throw new Unusable('has a name that no container has');
  const mountId = required(readId(dirfd, 'mount-id', parseMountId), 'mount-id');
  return {
    name,
    mountId,
    initId: readId(dirfd, 'init-id', parseMountId),
    parent: readId(dirfd, 'parent', parseChainId),
  };
}

/** What a directory that is not as it should be still says. */
function salvage(dirfd: number): Omit<Damaged, 'reason'> {
  const ids: string[] = [];
  let parent: ChainId | undefined;
  let idsUnknown = false;
  try {
    parent = readId(dirfd, 'parent', parseChainId);
  } catch (error) {
    if (!(error instanceof Unusable)) throw error;
  }
  for (const name of ['cache-id', 'mount-id', 'init-id']) {
    try {
      const id = readId(dirfd, name, parseCacheId);
      if (id !== undefined) ids.push(id);
    } catch (error) {
      if (!(error instanceof Unusable)) throw error;
      idsUnknown = true;
    }
  }
  return { parent, ids, idsUnknown: idsUnknown || ids.length === 0 };
}

/**
 * The driver's directories that a write-set or `-removing` directory names. Throws what open(2)
 * throws of one that may name some: a directory that nothing names is garbage.
 */
function idsAt(path: string): readonly string[] {
  let dirfd: number;
  try {
    dirfd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    if (isNoDirectory(error)) return [];
    throw error;
  }
  try {
    return salvage(dirfd).ids;
  } finally {
    closeSync(dirfd);
  }
}

/** Another directory under a name that was there before has another stamp. */
function stampOf(path: string): string | undefined {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined
    ? undefined
    : [stat.dev, stat.ino, stat.mtimeNs, stat.ctimeNs].join(':');
}
