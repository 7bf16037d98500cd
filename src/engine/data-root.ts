/**
 * A data root, opened: the layers, images and references that every use case works on.
 *
 * A root that ply made has the file `plyfs/format`. One without it that has images is somebody
 * else's, Docker's as a rule, and is opened for reading unless the caller insists: an engine that
 * runs on it keeps everything in memory, and must be stopped while it is changed.
 */
import { existsSync, mkdirSync, realpathSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { writeFileDurably } from '../base/durable-file.js';
import { PlyfsError } from '../base/error.js';
import { defaultDataRoot } from './data-root-path.js';
import { keepReserve, spendReserve } from './disk-reserve.js';
import type { DriverOptions, GraphDriver } from '../graphdriver/driver.js';
import { selectDriver } from '../graphdriver/selection.js';
import { ImageStore } from '../image/image-store.js';
import { ReferenceStore } from '../image/reference-store.js';
import { LayerStore } from '../layer/layer-store.js';
import { assertDirectories, readStored } from '../sys/stored-file.js';

export interface DataRootOptions {
  /** Default: `defaultDataRoot()`. */
  readonly root?: string;
  readonly storageDriver?: string;
  /** `key=value`, as after `--storage-opt`. */
  readonly storageOptions?: readonly string[];
  readonly mounter?: 'fuse' | 'kernel';
  /** Whether the use case changes the root. */
  readonly write: boolean;
  /**
   * The changes only take away: nothing is tried out before, and space that was kept for it is used
   * where the disk is full.
   */
  readonly freeing?: boolean;
  /** Also somebody else's. */
  readonly writable?: boolean;
}

export interface DataRoot {
  /** Absolute, without symbolic links. */
  readonly root: string;
  /** As it was opened. */
  readonly readOnly: boolean;
  /** Another program made it. */
  readonly foreign: boolean;
  readonly driver: GraphDriver;
  readonly layers: LayerStore;
  readonly images: ImageStore;
  readonly references: ReferenceStore;
  /** What lies there and cannot be used: a sentence each. */
  readonly skipped: () => readonly string[];
  close(): void;
}

/**
 * Says that the root is ply's, and in which form what only ply keeps there (locks, leases,
 * temporary files) is.
 */
const MARK = 'plyfs/format';
const FORMAT = '1\n';

/**
 * A root that is not there is made by who writes, and the default one by anybody.
 * Throws `root-missing`, `root-foreign`, what the choice of a driver and the stores throw.
 */
export async function openDataRoot(options: DataRootOptions): Promise<DataRoot> {
  const {
    write,
    freeing = false,
    writable = false,
    mounter = 'fuse',
    storageOptions = [],
    storageDriver,
  } = options;
  const path = resolve(options.root ?? defaultDataRoot());
  // Throws what node:fs throws where nobody knows whether it is there.
  const made = statSync(path, { throwIfNoEntry: false }) === undefined;
  if (made) makeRoot(path, write || options.root === undefined);
  const root = realpathSync(path);
  assertDirectories(['plyfs', 'image', 'containers'].map((name) => join(root, name)));
  const foreign = !isMarked(root) && existsSync(join(root, 'image'));
  if (foreign && write && !writable) {
    throw new PlyfsError(
      'root-foreign',
      `${root} was made by another program: stop that, and say --writable if it is to be changed.`,
    );
  }
  const readOnly = !write && (foreign || existsSync(join(root, 'image')));
  const driverOptions: Omit<DriverOptions, 'home'> = {
    readOnly,
    probe: !freeing,
    options: storageOptions,
    mounter,
  };
  const own = !readOnly && !foreign;
  const spent = own && freeing && spendReserve(root);
  const definition = await selectDriver(root, {
    ...driverOptions,
    env: process.env,
    ...(storageDriver !== undefined && { explicit: storageDriver }),
  });
  const driver = await definition.open({ ...driverOptions, home: join(root, definition.name) });
  const layers = await LayerStore.open({ root, driver, readOnly });
  try {
    if (own) markRoot(root);
    const stores = { root, driverName: driver.name, readOnly };
    const images = ImageStore.open({ ...stores, layers });
    const close = (): void => {
      layers.close();
      if (own) keepReserve(root, { anyRoom: spent });
    };
    const references = ReferenceStore.open({
      ...stores,
      exclusively: (change) => layers.exclusively(change),
    });
    const skipped = (): string[] => [
      ...layers.skipped.map(({ path, reason }) => `${path} ${reason}.`),
      ...images.skipped.map(({ path, reason }) => `${path}: ${reason}.`),
    ];
    return { root, readOnly, foreign, driver, layers, images, references, skipped, close };
  } catch (error) {
    layers.close();
    throw error;
  }
}

/** As dockerd makes its own: others may pass through to a mount, not look. */
function makeRoot(path: string, allowed: boolean): void {
  if (!allowed)
    throw new PlyfsError(
      'root-missing',
      `There is no data root ${path}: \`ply load\` and \`ply import\` make one.`,
    );
  mkdirSync(path, { recursive: true, mode: 0o710 });
}

function isMarked(root: string): boolean {
  const path = join(root, MARK);
  const format = readStored(path, 'format')?.toString('latin1');
  if (format === undefined || format === FORMAT) return format !== undefined;
  throw new PlyfsError(
    'root-damaged',
    `${path} names a form of data root that this version of ply does not know: use the one that wrote it.`,
  );
}

function markRoot(root: string): void {
  if (!isMarked(root)) writeFileDurably(join(root, MARK), FORMAT, 0o600);
}
