/** fsck: whether all that the store says is so. Changes nothing. */
import { join } from 'node:path';
import type { ChainId } from '../base/digest.js';
import { sentenceOf, PlyfsError } from '../base/error.js';
import type { LayerDirectories } from '../graphdriver/driver.js';
import { collectGarbage, listGarbage } from './garbage.js';
import type { Layer } from './layer.js';
import { checkTarSplit, layerTar } from './layer-tar.js';
import type { Mount, StoreState } from './store-state.js';

export type FindingCode =
  /**
   * It, or a layer below it, is not complete or not what its name says: the store acts as if it
   * were not there.
   */
  | 'layer-skipped'
  | 'mount-skipped'
  /**
   * The driver has no directory of the id that layerdb names, or one whose own files contradict it.
   */
  | 'directory-missing'
  | 'directory-damaged'
  /** The driver puts it on other layers than layerdb does. */
  | 'parents-differ'
  /** Another layer names the same directory of the driver. */
  | 'directory-shared'
  | 'tar-split-damaged'
  /** Its files are not those of its tar any more. Only `deep` finds it. */
  | 'content-damaged'
  | 'garbage';

export interface Finding {
  readonly code: FindingCode;
  readonly path: string;
  /** One sentence. */
  readonly problem: string;
  /** Of a layer. */
  readonly chainId?: ChainId;
  /** Of a mount. */
  readonly name?: string;
  /**
   * What `repair` does about it. Absent: nothing, because somebody may still need what is there.
   */
  readonly repair?: string;
}

export interface CheckOptions {
  /** Puts every layer's tar together again and compares its digest, which reads everything. */
  readonly deep?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?:
    ((event: { kind: 'layer'; id: ChainId; done: number; total: number }) => void) | undefined;
}

export interface Repaired {
  readonly repaired: readonly Finding[];
  readonly left: readonly Finding[];
}

export async function checkStore(state: StoreState, options: CheckOptions): Promise<Finding[]> {
  const { deep = false, signal, onProgress } = options;
  state.refresh();
  const findings: Finding[] = state.skipped.map(({ path, reason }) => ({
    code: path.startsWith(state.metadata.mountsPath) ? 'mount-skipped' : 'layer-skipped',
    path,
    problem: `${path} ${reason}.`,
  }));
  const layers = [...state.layers.values()].sort((a, b) => a.depth - b.depth);
  for (const [done, layer] of layers.entries()) {
    signal?.throwIfAborted();
    onProgress?.({ kind: 'layer', id: layer.chainId, done, total: layers.length });
    const found = await checkLayer(state, layer, deep, signal);
    // Deleted while it was looked at.
    if (found.length > 0) state.refresh();
    if (state.layers.get(layer.chainId)?.cacheId === layer.cacheId) findings.push(...found);
  }
  for (const mount of [...state.mounts.values()]) {
    const found = checkMount(state, mount);
    if (found.length > 0) state.refresh();
    if (state.mounts.get(mount.name)?.mountId === mount.mountId) findings.push(...found);
  }
  findings.push(...garbageFindings(state));
  return findings;
}

/** Removes what is provably garbage, and tells what it did and what it left. */
export async function repairStore(state: StoreState, options: CheckOptions): Promise<Repaired> {
  const { removed } = await collectGarbage(state);
  const repaired = removed.map(({ path, reason, chainId }) => ({
    code: 'garbage' as const,
    path,
    problem: `${path} ${reason}.`,
    repair: 'removed',
    ...(chainId !== undefined && { chainId }),
  }));
  return { repaired, left: await checkStore(state, options) };
}

function garbageFindings(state: StoreState): Finding[] {
  return listGarbage(state).map(({ path, reason, chainId }) => ({
    code: 'garbage',
    path,
    problem: `${path} ${reason}.`,
    repair: 'removes it',
    ...(chainId !== undefined && { chainId }),
  }));
}

async function checkLayer(
  state: StoreState,
  layer: Layer,
  deep: boolean,
  signal: AbortSignal | undefined,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const { chainId, cacheId, parent } = layer;
  const add = (code: FindingCode, path: string, problem: string): void =>
    void findings.push({ code, path, problem, chainId });
  const path = join(state.driver.home, cacheId);
  if (state.idUsers(cacheId) > 1)
    add('directory-shared', path, `${path} belongs to the layer ${chainId}, and to another.`);
  const directories = directoriesOf(state, cacheId, (code, problem) =>
    add(code, path, `The layer ${chainId}: ${problem}`),
  );
  if (directories !== undefined) {
    const wrong = wrongParents(state, directories, parent, []);
    if (wrong !== undefined)
      add(
        'parents-differ',
        path,
        `${path} is a layer on ${wrong}, where the layer ${chainId} is not.`,
      );
  }
  try {
    await checkTarSplit(state, layer);
    if (!deep || directories === undefined) return findings;
  } catch (error) {
    add('tar-split-damaged', state.metadata.layerPath(chainId), sentenceOf(error));
    return findings;
  }
  try {
    for await (const _ of layerTar(state, layer)) signal?.throwIfAborted();
  } catch (error) {
    signal?.throwIfAborted();
    add('content-damaged', directories.own, sentenceOf(error));
  }
  return findings;
}

function checkMount(state: StoreState, { name, mountId, initId, parent }: Mount): Finding[] {
  const findings: Finding[] = [];
  const check = (id: string, above: readonly string[]): LayerDirectories | undefined => {
    const path = join(state.driver.home, id);
    const add = (code: FindingCode, problem: string): void =>
      void findings.push({ code, path, problem, name });
    if (state.idUsers(id) > 1)
      add('directory-shared', `${path} belongs to '${name}', and to another.`);
    const directories = directoriesOf(state, id, (code, problem) =>
      add(code, `'${name}': ${problem}`),
    );
    const wrong = directories && wrongParents(state, directories, parent, above);
    if (wrong !== undefined)
      add('parents-differ', `${path} is a layer on ${wrong}, where '${name}' is not.`);
    return directories;
  };
  const init = initId === undefined ? undefined : check(initId, []);
  if (initId === undefined || init !== undefined)
    check(mountId, init === undefined ? [] : [init.own]);
  return findings;
}

function directoriesOf(
  { driver }: StoreState,
  id: string,
  add: (code: 'directory-missing' | 'directory-damaged', problem: string) => void,
): LayerDirectories | undefined {
  try {
    return driver.directories(id);
  } catch (error) {
    const missing = error instanceof PlyfsError && error.code === 'layer-missing';
    add(missing ? 'directory-missing' : 'directory-damaged', sentenceOf(error));
    return undefined;
  }
}

/**
 * The first directory that the driver puts below, and that layerdb does not; undefined when they
 * agree, or when the parent itself is damaged.
 */
function wrongParents(
  { driver }: StoreState,
  { below, form }: LayerDirectories,
  parent: Layer | undefined,
  above: readonly string[],
): string | undefined {
  if (form === 'none') return undefined;
  let expected: readonly string[];
  try {
    const under = parent === undefined ? undefined : driver.directories(parent.cacheId);
    expected = [...above, ...(under === undefined ? [] : [under.own, ...under.below])];
  } catch {
    return undefined;
  }
  const at = Math.max(below.length, expected.length);
  for (let index = 0; index < at; index++)
    if (below[index] !== expected[index]) return below[index] ?? 'nothing';
  return undefined;
}
