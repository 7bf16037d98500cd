/**
 * Drivers whose layers say "deleted" by `.wh.` files, as a layer's tar does. Only our union mounts
 * them.
 */
import type { ApplyOptions } from '../archive/apply-layer.js';
import { treeSize } from '../archive/layer-size.js';
import { packTree } from '../archive/pack-layer.js';
import type { ByteSource } from '../base/byte-source.js';
import { PlyfsError } from '../base/error.js';
import type { DriverName, DriverOptions } from './driver.js';
import { backingFileSystem } from './feature-detection.js';
import { ownership } from './home.js';
import { mounters } from './mounters/index.js';
import { UnionDriver } from './union-driver.js';

export abstract class MarkerDriver extends UnionDriver {
  status(): readonly (readonly [name: string, value: string])[] {
    return [
      ['Backing Filesystem', backingFileSystem(this.home)],
      ['Mounted by', this.mounter.name],
    ];
  }

  /**
   * The layer's own directory, whose markers are those of the tar. Throws `layer-needs-merge` for
   * an upper that a union with `redirect_dir` wrote.
   */
  override diff(id: string, parent: string | undefined): ByteSource {
    if (this.isParent(id, parent))
      return packTree(this.directories(id).own, { form: 'aufs', ownership });
    return super.diff(id, parent);
  }

  async diffSize(id: string, _parent: string | undefined): Promise<number> {
    return treeSize(this.directories(id).own);
  }

  protected applying(): Omit<ApplyOptions, 'ownership'> {
    return { whiteouts: 'aufs' };
  }
}

export function markersUnsupported(
  name: DriverName,
  { mounter }: DriverOptions,
): string | undefined {
  if (mounter === 'kernel')
    return `the kernel's overlay cannot read the .wh. files of ${name}: mount by fuse`;
  return mounters.fuse.unsupported();
}

/** Throws `option-unknown`. */
export function refuseOptions(name: DriverName, { options }: DriverOptions): void {
  const [first] = options;
  if (first !== undefined)
    throw new PlyfsError(
      'option-unknown',
      `the storage driver ${name} has no option ${first.split('=', 1)[0] ?? ''}: leave it out.`,
    );
}
