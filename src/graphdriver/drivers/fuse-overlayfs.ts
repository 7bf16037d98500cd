/**
 * The layout of Docker's fuse-overlayfs driver: overlay2's, with whiteouts kept as the `.wh.` files
 * they are in a layer's tar.
 */
import type { DriverDefinition, DriverOptions } from '../driver.js';
import { MarkerDriver, markersUnsupported, refuseOptions } from '../marker-driver.js';
import { OverlayLayout } from '../overlay-layout.js';

const NAME = 'fuse-overlayfs';
const WORK_MODE = 0o710;

class FuseOverlayfsDriver extends MarkerDriver {
  readonly name = NAME;
  readonly #layout: OverlayLayout;

  constructor(options: DriverOptions) {
    const layout = new OverlayLayout(options.home, 'aufs', WORK_MODE);
    super(layout, options);
    this.#layout = layout;
  }

  override metadata(id: string): Readonly<Record<string, string>> {
    return this.#layout.metadata(id);
  }
}

export const fuseOverlayfs: DriverDefinition = {
  name: NAME,
  unsupported: async (options) => markersUnsupported(NAME, options),
  async open(options) {
    refuseOptions(NAME, options);
    return new FuseOverlayfsDriver(options);
  },
};
