/** What was changed in a read-write layer: told, made a read-only layer, thrown away. */
import type { Change } from '../archive/changes.js';
import type { ByteSource } from '../base/byte-source.js';
import { bytesOf } from '../base/bytes.js';
import { check, E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { randomId, type MountId } from '../base/ids.js';
import { naiveDiff, ownershipIn } from '../graphdriver/naive-diff.js';
import type { Ownership } from '../graphdriver/home.js';
import { isDead } from '../host/unmount.js';
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import type { Layer } from './layer.js';
import { assertNotShown } from './mounted-layer.js';
import { registerLayer, type RegisterOptions } from './register.js';
import { finishRemoving } from './removal.js';
import { withoutDeadMounts } from './shown.js';
import type { Mount, StoreState } from './store-state.js';
import { trace } from './trace.js';
import { untilLetGo, untilUnused, whileUnused } from './workdir-hold.js';

export interface CommitMountedOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the layer's tar so far. */
  readonly onProgress?: ((done: number) => void) | undefined;
  /** As `RegisterOptions` has it. */
  readonly onLost?: RegisterOptions['onLost'];
}

/** Against the init layer, or the parent where there is none: sorted by path, as `docker diff`. */
export async function mountedChanges(state: StoreState, name: string): Promise<Change[]> {
  state.refresh();
  const mount = state.mountNamed(name);
  await settle(state, mount);
  return state.driver.changes(mount.mountId, parentIdOf(mount));
}

export async function writtenSize(state: StoreState, name: string): Promise<number> {
  const mount = state.mountNamed(name);
  await untilLetGo(state, mount);
  return state.driver.diffSize(mount.mountId, parentIdOf(mount));
}

/** The whole tree, as it is shown; the tar of `docker export`. Throws `mount-dead`. */
export async function* mountedTree(state: StoreState, name: string): ByteSource {
  state.refresh();
  const mount = state.mountNamed(name);
  await assertAlive(state, mount);
  await settle(state, mount);
  yield* naiveDiff(state.driver, mount.mountId, undefined);
}

/**
 * The layer shown while `use` works: where it is mounted, if it is, else at a place of its own.
 * `ownership`: how owners are to be read and given there. Throws `mount-missing`, `mount-dead`, and
 * `layer-in-use` where it is to be written and somebody has it in a way that forbids it.
 */
export async function whileShown<T>(
  state: StoreState,
  name: string,
  { write }: { write: boolean },
  use: (path: string, ownership: Ownership) => Promise<T>,
): Promise<T> {
  state.refresh();
  const mount = state.mountNamed(name);
  await assertAlive(state, mount);
  const { driver } = state;
  const writable = driver.mounts().find(({ id, readOnly }) => id === mount.mountId && !readOnly);
  if (writable !== undefined)
    return use(writable.target, ownershipIn({ path: writable.target, by: writable.by }));
  await (write ? untilUnused : untilLetGo)(state, mount);
  const shown = await driver.get(mount.mountId, { readOnly: !write });
  try {
    return await use(shown.path, ownershipIn(shown));
  } finally {
    await driver.put(mount.mountId);
  }
}

/** Of a mount without its daemon nothing can be read. */
async function assertAlive({ driver }: StoreState, { name, mountId }: Mount): Promise<void> {
  for (const { id, target } of driver.mounts()) {
    if (id === mountId && (await isDead(target)))
      throw new PlyfsError(
        'mount-dead',
        `The daemon of the mount of '${name}' at ${target} has died: \`ply umount ${name}\`, then mount it again.`,
      );
  }
}

/** The caller holds a reference, as of `register`. Undefined when nothing was changed. */
export async function commitMounted(
  state: StoreState,
  name: string,
  { signal, onProgress, onLost }: CommitMountedOptions,
): Promise<Layer | undefined> {
  state.refresh();
  const mount = state.mountNamed(name);
  await settle(state, mount);
  const { driver } = state;
  const parentId = parentIdOf(mount);
  const register = async (tar: ByteSource): Promise<Layer | undefined> => {
    const counted = await unlessEmpty(onProgress === undefined ? tar : counting(tar, onProgress));
    return counted && registerLayer(state, counted, mount.parent?.chainId, { signal, onLost });
  };
  try {
    return await register(driver.diff(mount.mountId, parentId));
  } catch (error) {
    if (!(error instanceof PlyfsError && error.code === 'layer-needs-merge')) throw error;
    return register(naiveDiff(driver, mount.mountId, parentId));
  }
}

/**
 * The layer is as it was made. Its files are exchanged, whole, for those of a new layer on the same
 * parent, which then goes with what was changed: whenever this is cut off, the layer has all or
 * nothing, and the rest is garbage. Throws `mount-missing`, `layer-in-use`.
 */
export async function resetMounted(state: StoreState, name: string): Promise<void> {
  state.refresh();
  const mount = state.mountNamed(name);
  await withoutDeadMounts(state, ({ id }) => id === mount.mountId);
  assertNotShown(state, mount);
  await whileUnused(state, mount, async () => {
    const fresh = randomId() as MountId;
    const writeSet = state.exclusively(() => state.metadata.createWriteSet());
    try {
      writeSet.write('mount-id', fresh);
      trace('mount-id written', fresh);
      await state.driver.createReadWrite(fresh, parentIdOf(mount));
      trace('driver directory made', fresh);
      await state.flush();
      state.exclusively(() => {
        const now = state.mountNamed(name);
        if (now.mountId !== mount.mountId)
          throw new PlyfsError('mount-missing', `'${name}' is another container now: try again.`);
        assertNotShown(state, now);
        state.driver.exchange(mount.mountId, fresh);
      });
      trace('exchanged', fresh);
    } finally {
      await finishRemoving(state, { writeSet, ids: [fresh] });
    }
  });
}

function parentIdOf({ initId, parent }: Mount): string | undefined {
  return initId ?? parent?.cacheId;
}

/**
 * What was written to the layer's mounts is in its directory afterwards: pages that were changed
 * through a mapping, say, are not at once.
 */
async function settle(state: StoreState, mount: Mount): Promise<void> {
  await untilLetGo(state, mount);
  for (const { id, target, readOnly } of state.driver.mounts()) {
    if (id !== mount.mountId || readOnly || (await isDead(target))) continue;
    const fd = sys.openat(AT_FDCWD, bytesOf(target), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    // Unmounted meanwhile, or another user's, who alone comes in.
    if (fd === -E.ENOENT || fd === -E.EACCES) continue;
    check(fd, target);
    try {
      check(await sys.syncfsAsync(fd), `syncfs ${target}`);
    } finally {
      sys.close(fd);
    }
  }
}

/** Two blocks of zeros: the end of a tar, and nothing before it. */
const EMPTY_TAR = 1024;

/**
 * The same bytes; undefined for a tar without entries, of which nothing is left to be read then.
 */
async function unlessEmpty(tar: ByteSource): Promise<ByteSource | undefined> {
  const pieces = tar[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  let length = 0;
  while (length <= EMPTY_TAR) {
    const next = await pieces.next();
    if (next.done === true) break;
    // The next piece may be in the same buffer.
    first.push(Uint8Array.from(next.value));
    length += next.value.length;
  }
  const head = Buffer.concat(first);
  if (length === EMPTY_TAR && head.every((byte) => byte === 0)) return undefined;
  return (async function* () {
    try {
      yield head;
      for (let next = await pieces.next(); next.done !== true; next = await pieces.next())
        yield next.value;
    } finally {
      await pieces.return?.();
    }
  })();
}

async function* counting(tar: ByteSource, onProgress: (done: number) => void): ByteSource {
  let done = 0;
  for await (const piece of tar) {
    done += piece.length;
    onProgress(done);
    yield piece;
  }
}
