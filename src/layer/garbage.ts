/**
 * What nobody needs, and what shows that:
 *
 * - write-sets and `-removing` directories that nobody works on, with the driver's directories that
 *   they name;
 * - directories of the driver that nothing in layerdb names;
 * - records (mount-records.ts) of no read-write layer;
 * - blobs from a registry that nobody is fetching (blob-part.ts);
 * - layers without a layer, mount, image or process that refers to them, as a load leaves them that
 *   was killed before its image was there.
 *
 * dockerd's builder keeps layers, and directories of the driver, that only its databases know: what
 * these mention stays. What is mounted stays, with all below it; and while a directory of layerdb
 * cannot be read, so do all that it may have named.
 */
import { closeSync, lstatSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ChainId } from '../base/digest.js';
import { sentenceOf } from '../base/error.js';
import { abandonedBlobParts, removeBlobPart } from './blob-part.js';
import type { Unfinished } from './metadata-store.js';
import { finishRemoving, takeUnneeded, unusedIds, type Removal } from './removal.js';
import { buildkitDatabases, openDatabase } from './root-lock.js';
import type { StoreState } from './store-state.js';
import { trace } from './trace.js';
import { WriteSet } from './write-set.js';

export interface Garbage {
  readonly kind: 'unfinished' | 'driver-directory' | 'record' | 'layer' | 'blob';
  readonly path: string;
  /** The rest of a sentence that begins with the path. */
  readonly reason: string;
  /** Of a layer. */
  readonly chainId?: ChainId;
}

export interface Collected {
  readonly removed: readonly Garbage[];
  readonly failed: readonly (Garbage & { readonly error: string })[];
}

interface Found {
  readonly unfinished: readonly Unfinished[];
  readonly driverIds: readonly string[];
  /** Paths. */
  readonly records: readonly string[];
  readonly layers: readonly ChainId[];
}

/** What `collectGarbage` would take. */
export function listGarbage(state: StoreState): Garbage[] {
  if (state.readOnly) state.refresh();
  const { unfinished, driverIds, records, layers } = state.readOnly
    ? findGarbage(state)
    : state.exclusively(() => findGarbage(state));
  return [
    ...unfinished.map(({ path }) => unfinishedGarbage(path)),
    ...driverIds.map((id) => driverGarbage(state, id)),
    ...records.map(recordGarbage),
    ...layers.map((chainId) => layerGarbage(state, chainId)),
    ...abandonedBlobParts(state.root).map(blobGarbage),
  ];
}

/**
 * Under the store's lock, but on a root that is open for reading only, where what others do at that
 * moment may be listed as well.
 */
function findGarbage(state: StoreState): Found {
  // First what the driver has: whatever names it was there before.
  const driverIds = state.driver.ids();
  state.refresh();
  const unfinished = state.metadata.unfinished();
  const named = new Set(unfinished.flatMap(({ ids }) => ids));
  const mounted = state.mountedIds();
  const unknownIds = state.idsUnknown
    ? []
    : driverIds.filter((id) => !state.isIdUsed(id) && !named.has(id) && !mounted.has(id));
  const held = state.heldElsewhere();
  const unneeded =
    state.holders.length === 0
      ? []
      : [...state.layers.keys()].filter((id) => state.references(id) === 0 && !held.has(id));
  const mentioned = mentionedInBuildkit(state.root, [...unknownIds, ...unneeded]);
  return {
    unfinished: unfinished.filter(({ inUse }) => !inUse),
    driverIds: unknownIds.filter((id) => !mentioned(id)),
    records: state.idsUnknown ? [] : state.records.strays((id) => state.isIdUsed(id)),
    layers: unneeded.filter((id) => !mentioned(id)),
  };
}

/**
 * Takes what `garbage` lists, and the layers that nobody needs after that. What fails is told and
 * left.
 */
export async function collectGarbage(state: StoreState): Promise<Collected> {
  const removed: Garbage[] = [];
  const failed: (Garbage & { error: string })[] = [];
  const attempt = async (garbage: Garbage, remove: () => Promise<void>): Promise<void> => {
    try {
      await remove();
      removed.push(garbage);
    } catch (error) {
      failed.push({ ...garbage, error: sentenceOf(error) });
    }
  };
  const { removals, driverIds, records, layers } = state.exclusively(() => {
    const found = findGarbage(state);
    const removals = found.unfinished.map((unfinished) => ({
      garbage: unfinishedGarbage(unfinished.path),
      take: takeOver(state, unfinished),
    }));
    const layers = found.layers.flatMap((chainId) => takeLayers(state, chainId));
    // A new record of that id is written under the lock only, and ids are never used again.
    return { removals, driverIds: found.driverIds, records: found.records, layers };
  });
  for (const { garbage, take } of removals) await attempt(garbage, take);
  for (const id of driverIds) {
    await attempt(driverGarbage(state, id), async () => {
      await state.driver.remove(id);
      trace('driver directory removed', id);
    });
  }
  for (const path of records)
    await attempt(recordGarbage(path), async () => rmSync(path, { recursive: true, force: true }));
  for (const { garbage, removal } of layers)
    await attempt(garbage, () => finishRemoving(state, removal));
  for (const path of abandonedBlobParts(state.root))
    await attempt(blobGarbage(path), async () => {
      if (!removeBlobPart(path)) throw new Error('Somebody works on it.');
    });
  return { removed, failed };
}

/** Under the store's lock. */
function takeOver(state: StoreState, { path, ids }: Unfinished): () => Promise<void> {
  // A file or a link of such a name, or what somebody finished meanwhile.
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true)
    return async () => rmSync(path, { force: true });
  const writeSet = WriteSet.tryLock(path);
  if (writeSet === undefined) return () => Promise.reject(new Error('Somebody works on it.'));
  const removal: Removal = { writeSet, ids: unusedIds(state, ids) };
  return () => finishRemoving(state, removal);
}

function takeLayers(state: StoreState, chainId: ChainId): { garbage: Garbage; removal: Removal }[] {
  const { layers, removals } = takeUnneeded(state, chainId);
  return layers.map(({ chainId }, index) => ({
    garbage: layerGarbage(state, chainId),
    removal: removals[index]!,
  }));
}

function unfinishedGarbage(path: string): Garbage {
  const reason = path.endsWith('-removing')
    ? 'is a layer whose deletion was not finished'
    : 'was left by a process that did not finish';
  return { kind: 'unfinished', path, reason };
}

function driverGarbage({ driver }: StoreState, id: string): Garbage {
  const reason = driver.exists(id)
    ? 'belongs to no layer'
    : 'belongs to no layer, and is not complete';
  return { kind: 'driver-directory', path: join(driver.home, id), reason };
}

function recordGarbage(path: string): Garbage {
  return { kind: 'record', path, reason: 'is the record of a container that is not there' };
}

function blobGarbage(path: string): Garbage {
  return { kind: 'blob', path, reason: 'is a part of a blob that nobody is fetching' };
}

function layerGarbage({ metadata }: StoreState, chainId: ChainId): Garbage {
  return {
    kind: 'layer',
    path: metadata.layerPath(chainId),
    reason: 'is a layer that no image or container needs',
    chainId,
  };
}

const WINDOW = 1 << 20;

/**
 * Whether dockerd's builder may know an id: its databases contain it somewhere. They are B+ trees
 * (bbolt) that keep a key or value in one piece; what was deleted may still be found in free pages,
 * and then an id is kept too long, but none is lost.
 */
function mentionedInBuildkit(root: string, ids: readonly string[]): (id: string) => boolean {
  const found = new Set<string>();
  const longest = Math.max(0, ...ids.map((id) => id.length));
  for (const database of ids.length === 0 ? [] : buildkitDatabases(root)) {
    const fd = openDatabase(join(root, database));
    if (fd === undefined) continue;
    try {
      const window = Buffer.alloc(WINDOW + longest);
      let kept = 0;
      for (let got; (got = readSync(fd, window, kept, WINDOW, null)) > 0;) {
        const text = window.toString('latin1', 0, kept + got);
        for (const id of ids) if (text.includes(id)) found.add(id);
        kept = Math.min(longest, kept + got);
        window.write(text.slice(text.length - kept), 0, 'latin1');
      }
    } finally {
      closeSync(fd);
    }
  }
  return (id) => found.has(id);
}
