/** Docker's overlay2: layers in the form of overlayfs, mounted by plyfs or by the kernel. */
import type { ApplyOptions } from '../../archive/apply-layer.js';
import { treeSize } from '../../archive/layer-size.js';
import { packTree } from '../../archive/pack-layer.js';
import type { ByteSource } from '../../base/byte-source.js';
import { PlyfsError } from '../../base/error.js';
import { reasonOf } from '../../base/system-error.js';
import type { DriverDefinition, DriverOptions } from '../driver.js';
import {
  assumedKernelOverlay,
  backingFileSystem,
  tryKernelOverlay,
  tryLayer,
  type KernelOverlay,
  type LayerFeatures,
} from '../feature-detection.js';
import { isDirectory, ownership } from '../home.js';
import { mounters } from '../mounters/index.js';
import { OverlayLayout } from '../overlay-layout.js';
import { limitDirectory, quotaUnsupported } from '../project-quota.js';
import { parseSize } from '../size.js';
import { opaqueAttribute, ownMarks } from '../../overlay/private-xattrs.js';
import { UnionDriver, type Union } from '../union-driver.js';

const NAME = 'overlay2';
const WORK_MODE = 0o700;

/** What the driver's options say; throws `option-unknown`. */
interface Options {
  /** Bytes that each read-write layer may take. */
  readonly size?: number;
}

function parseOptions(options: readonly string[]): Options {
  let size: number | undefined;
  for (const option of options) {
    const [key = '', value = ''] = option.split(/=(.*)/s, 2);
    switch (key.toLowerCase()) {
      case 'overlay2.size':
        size = parseSize(key, value);
        break;
      // Accepted by Docker, without effect.
      case 'overlay2.override_kernel_check':
        break;
      default:
        throw new PlyfsError(
          'option-unknown',
          `the storage driver overlay2 has no option ${key}: overlay2.size is one.`,
        );
    }
  }
  return size === undefined ? {} : { size };
}

class Overlay2Driver extends UnionDriver {
  readonly name = NAME;
  readonly #layout: OverlayLayout;
  readonly #size: number | undefined;
  readonly #mayProbe: boolean;
  #features: LayerFeatures | undefined;
  #kernel: KernelOverlay | undefined;

  constructor(options: DriverOptions) {
    const layout = new OverlayLayout(options.home, 'overlay', WORK_MODE);
    super(layout, options);
    this.#layout = layout;
    this.#mayProbe = options.probe && !options.readOnly;
    this.#size = parseOptions(options.options).size;
    if (this.#size !== undefined) refuseSize(options.home);
  }

  status(): readonly (readonly [name: string, value: string])[] {
    const kernel = this.#kernelOverlay();
    return [
      ['Backing Filesystem', backingFileSystem(this.home)],
      ['Supports d_type', String(this.#layerFeatures()?.dType ?? true)],
      ['Using metacopy', String(kernel.metacopy)],
      ['Native Overlay Diff', String(kernel.nativeDiff)],
      ['userxattr', String(ownMarks() === 'user')],
      ['Mounted by', this.mounter.name],
    ];
  }

  override async createReadWrite(
    id: string,
    parent: string | undefined,
    options: { size?: number } = {},
  ): Promise<void> {
    const size = options.size ?? this.#size;
    await super.createReadWrite(id, parent, size === undefined ? {} : { size });
  }

  protected override limiter(size: number): (directory: string) => void {
    refuseSize(this.home);
    return (directory) => {
      limitDirectory(this.home, directory, size);
    };
  }

  override metadata(id: string): Readonly<Record<string, string>> {
    return this.#layout.metadata(id);
  }

  override diff(id: string, parent: string | undefined): ByteSource {
    if (this.#isNative(id, parent))
      return packTree(this.directories(id).own, { form: 'overlay', ownership });
    return super.diff(id, parent);
  }

  async diffSize(id: string, _parent: string | undefined): Promise<number> {
    return treeSize(this.directories(id).own);
  }

  protected applying(): Omit<ApplyOptions, 'ownership'> {
    return { whiteouts: 'overlay', opaqueXattr: opaqueAttribute(ownMarks()) };
  }

  protected override appliedSize(id: string, headers: number): number {
    return this.#kernelOverlay().nativeDiff ? treeSize(this.directories(id).own) : headers;
  }

  protected override unionOf(id: string, readOnly: boolean): Union {
    const union = super.unionOf(id, readOnly);
    const below = this.#layout.lowersOf(id).map((short) => `l/${short}`);
    // What has no short name is not so long that it needs one.
    if (below.length === 0) return union;
    const [own, work] = [`${id}/diff`, `${id}/work`];
    const relative = readOnly
      ? { from: this.home, lowers: [own, ...below] }
      : { from: this.home, lowers: below, upper: { path: own, work } };
    return { ...union, relative };
  }

  /** Whether the layer's directory is its difference to `parent`, and nothing else. */
  #isNative(id: string, parent: string | undefined): boolean {
    return this.isParent(id, parent) && this.#kernelOverlay().nativeDiff;
  }

  #layerFeatures(): LayerFeatures | undefined {
    if (!this.#mayProbe) return undefined;
    return (this.#features ??= tryLayer(this.home));
  }

  /** Who cannot mount the kernel's overlay has layers that it never wrote to. */
  #kernelOverlay(): KernelOverlay {
    if (mounters.kernel.unsupported() !== undefined)
      return { unsupported: undefined, metacopy: false, nativeDiff: true };
    if (!this.#mayProbe) return (this.#kernel ??= assumedKernelOverlay());
    const tried = (this.#kernel ??= tryKernelOverlay(this.home));
    return tried.unsupported === undefined ? tried : { ...tried, nativeDiff: true };
  }
}

/** Throws `option-unsupported` where sizes cannot be limited. */
function refuseSize(home: string): void {
  const backing = backingFileSystem(home);
  const why = backing === 'xfs' ? quotaUnsupported(home) : `${home} lies on ${backing}`;
  if (why === undefined) return;
  throw new PlyfsError(
    'option-unsupported',
    `the size of a layer can be limited on XFS with project quotas only, and ${why}: leave the size out.`,
  );
}

export const overlay2: DriverDefinition = {
  name: NAME,

  async unsupported({ home, mounter, readOnly, probe }) {
    const why = mounters[mounter].unsupported();
    if (why !== undefined || readOnly || !probe) return why;
    const { dType, whiteouts, xattrs } = tryLayer(home);
    const backing = backingFileSystem(home);
    if (!dType) {
      // Docker's sentence.
      return `the backing ${backing} filesystem is formatted without d_type support, which leads to incorrect behavior. Reformat the filesystem with ftype=1 to enable d_type support.`;
    }
    if (whiteouts !== true)
      return `whiteout devices cannot be made on the ${backing} file system of ${home} (${reasonOf(whiteouts)})`;
    if (xattrs === undefined)
      return `the ${backing} file system of ${home} takes no extended attributes`;
    return mounter === 'kernel' ? tryKernelOverlay(home).unsupported : undefined;
  },

  async open(options) {
    parseOptions(options.options);
    if (options.readOnly && !isDirectory(options.home))
      return new Overlay2Driver({ ...options, options: [] });
    return new Overlay2Driver(options);
  },
};
