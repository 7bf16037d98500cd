/** `ply fsck`: whether all that the data root says is so, images and names included. */
import { PlyfsError } from '../base/error.js';
import { familiarString } from '../image/reference.js';
import type { CheckOptions } from '../layer/layer-store.js';
import { containerOf } from './containers/container.js';
import type { DataRoot } from './data-root.js';

export interface FsckFinding {
  readonly code: string;
  readonly path: string;
  /** One sentence. */
  readonly problem: string;
  /** What `repair` would do, or did. Absent: nothing. */
  readonly repair?: string;
}

export interface FsckResult {
  readonly repaired: readonly FsckFinding[];
  readonly left: readonly FsckFinding[];
}

export interface FsckOptions extends CheckOptions {
  readonly repair?: boolean;
}

export async function checkRoot(
  root: DataRoot,
  { repair = false, ...options }: FsckOptions = {},
): Promise<FsckResult> {
  const { repaired, left } = repair
    ? await root.layers.repair(options)
    : { repaired: [], left: await root.layers.check(options) };
  root.images.refresh();
  root.references.refresh();
  const images = root.images.skipped.map(({ path, reason }) => ({
    code: 'image-skipped',
    path,
    problem: `${path}: ${reason.replace(/\.$/, '')}.`,
  }));
  const names = root.references
    .list()
    .filter(({ id }) => root.images.get(id) === undefined)
    .map(({ reference, id }) => ({
      code: 'reference-dangling',
      path: familiarString(reference),
      problem: `${familiarString(reference)} is the name of image ${id}, which is not in the store.`,
    }));
  return { repaired, left: [...left, ...images, ...names, ...damagedRecords(root)] };
}

function damagedRecords(root: DataRoot): FsckFinding[] {
  return root.layers.mountedLayers().flatMap((mounted) => {
    try {
      containerOf(root, mounted);
      return [];
    } catch (error) {
      if (!(error instanceof PlyfsError)) throw error;
      return [{ code: error.code, path: mounted.name, problem: error.message }];
    }
  });
}
