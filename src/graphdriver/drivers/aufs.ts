/**
 * The layout of Docker's aufs driver, so that a root of its time opens again on a kernel without
 * AUFS.
 */
import { treeSize } from '../../archive/layer-size.js';
import { backingFileSystem } from '../feature-detection.js';
import { AufsLayout } from '../aufs-layout.js';
import type { DriverDefinition, DriverOptions } from '../driver.js';
import { MarkerDriver, markersUnsupported, refuseOptions } from '../marker-driver.js';

const NAME = 'aufs';

class AufsDriver extends MarkerDriver {
  readonly name = NAME;

  constructor(options: DriverOptions) {
    super(new AufsLayout(options.home), options);
  }

  protected override appliedSize(id: string): number {
    return treeSize(this.directories(id).own);
  }

  override status(): readonly (readonly [name: string, value: string])[] {
    return [
      ['Root Dir', this.home],
      ['Backing Filesystem', backingFileSystem(this.home)],
      ['Dirs', String(this.ids().length)],
      ['Mounted by', this.mounter.name],
    ];
  }
}

export const aufs: DriverDefinition = {
  name: NAME,
  unsupported: async (options) => markersUnsupported(NAME, options),
  async open(options) {
    refuseOptions(NAME, options);
    return new AufsDriver(options);
  },
};
