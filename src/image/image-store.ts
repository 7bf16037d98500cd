/**
 * Images: `image/<driver>/imagedb/` (moby, image/store.go and fs.go).
 *
 *     content/sha256/<id>                       the configuration, whose digest the id is
 *     metadata/sha256/<id>/parent               the image it was made from, as `sha256:…`
 *     metadata/sha256/<id>/lastUpdated          when it was last tagged, RFC 3339
 *
 * Invariants: a file under `content` is whole and is what its name says, else it is passed over
 * with a reason; an image is published, by the rename of that file, only when its topmost layer is
 * in the store, under the root's lock; so no image ever lacks a layer, and the layer store, which
 * asks here what images need (`holders`), never deletes one that an image of any process needs.
 * What is in memory is a copy that `refresh` brings up to date; under the root's lock it is.
 *
 * Locks: the root's lock (src/layer/root-lock.ts), which is taken again freely; none of its own.
 */
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  digestOfHex,
  hexOf,
  parseDigest,
  sha256,
  type ChainId,
  type ImageId,
} from '../base/digest.js';
import { syncDirectory, TEMPORARY_PREFIX, writeFileDurably } from '../base/durable-file.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { randomId } from '../base/ids.js';
import type { Layer } from '../layer/layer.js';
import type { LayerStore } from '../layer/layer-store.js';
import { assertDirectories, makeDirectories, readStored, UnfitFile } from '../sys/stored-file.js';
import {
  checkOperatingSystem,
  parseImageConfig,
  topChainIdOf,
  type ImageConfig,
} from './image-config.js';

export interface Image {
  readonly id: ImageId;
  /**
   * Read anew whenever it is asked for, and not kept. Throws `image-missing` when the image has
   * gone meanwhile.
   */
  readonly config: ImageConfig;
  /** The bytes that the id is the digest of. As `config`. */
  readonly raw: Uint8Array;
  /** RFC 3339, as in the configuration. */
  readonly created?: string;
  /** How many bytes the configuration has. */
  readonly bytes: number;
  /** Of the topmost layer; absent for an image without layers. */
  readonly chainId?: ChainId;
  /** What it was made from here, as far as that is known. */
  readonly parent?: ImageId;
}

/**
 * What is kept of each configuration: those of strangers have up to 8 MiB each, and a listing looks
 * at all of them.
 */
interface Facts {
  readonly bytes: number;
  readonly created?: string;
  readonly chainId?: ChainId;
}

function factsOf(raw: Uint8Array, config: ImageConfig): Facts {
  const chainId = topChainIdOf(config);
  return {
    bytes: raw.length,
    ...(config.created !== undefined && { created: config.created }),
    ...(chainId !== undefined && { chainId }),
  };
}

function imageOf(id: ImageId, path: string, facts: Facts, parent: ImageId | undefined): Image {
  const content = (): Uint8Array => {
    const raw = readContent(id, path);
    if (raw === undefined)
      throw new PlyfsError(
        'image-missing',
        `The image ${id} has been removed meanwhile: load it again.`,
      );
    return raw;
  };
  return {
    id,
    ...facts,
    ...(parent !== undefined && { parent }),
    get raw() {
      return content();
    },
    get config() {
      return parseImageConfig(content(), `The configuration of image ${id}`);
    },
  };
}

export interface SkippedImage {
  readonly path: string;
  readonly reason: string;
}

export class ImageStore {
  readonly #contents: string;
  readonly #metadata: string;
  readonly #layers: LayerStore;
  readonly #readOnly: boolean;
  #images = new Map<ImageId, Image>();
  readonly #facts = new Map<ImageId, Facts>();
  #skipped: readonly SkippedImage[] = [];

  private constructor(path: string, layers: LayerStore, readOnly: boolean) {
    this.#contents = join(path, 'content', 'sha256');
    this.#metadata = join(path, 'metadata', 'sha256');
    this.#layers = layers;
    this.#readOnly = readOnly;
  }

  static open(options: {
    root: string;
    driverName: string;
    layers: LayerStore;
    readOnly: boolean;
  }): ImageStore {
    const { root, driverName, layers, readOnly } = options;
    const store = new ImageStore(join(root, 'image', driverName, 'imagedb'), layers, readOnly);
    const directories = [store.#contents, store.#metadata];
    if (readOnly) assertDirectories(directories);
    else makeDirectories(directories, 0o700);
    layers.addHolder(() => store.#chains());
    store.refresh();
    return store;
  }

  /** What lies in the store and is no image, or one whose layers are not there. */
  get skipped(): readonly SkippedImage[] {
    return this.#skipped;
  }

  /** In no order. */
  list(): Image[] {
    return [...this.#images.values()];
  }

  get(id: ImageId): Image | undefined {
    return this.#images.get(id);
  }

  /**
   * Those whose id begins with `prefix`: hexadecimal digits, with or without `sha256:` before them.
   */
  withPrefix(prefix: string): Image[] {
    const digits = prefix.startsWith('sha256:') ? prefix.slice('sha256:'.length) : prefix;
    if (!/^[0-9a-f]{1,64}$/.test(digits)) return [];
    return this.list().filter((image) => hexOf(image.id).startsWith(digits));
  }

  /** Made here from `id`. */
  children(id: ImageId): Image[] {
    return this.list().filter((image) => image.parent === id);
  }

  /** Its layers, the base first. */
  layersOf(image: Image): Layer[] {
    const layers: Layer[] = [];
    for (
      let layer = image.chainId && this.#layers.get(image.chainId);
      layer !== undefined;
      layer = layer.parent
    )
      layers.push(layer);
    return layers.reverse();
  }

  /** What `docker images` shows: the sizes of all its layers, also those it shares with others. */
  size(image: Image): number {
    return this.layersOf(image).reduce((sum, layer) => sum + layer.size, 0);
  }

  /** When it was last tagged here. Throws `root-damaged`. */
  lastUpdated(id: ImageId): string | undefined {
    return this.#readMetadata(id, 'lastUpdated');
  }

  /**
   * Reads again what is on disk: files that were read before are not, since their content cannot
   * change.
   */
  refresh(): void {
    const images = new Map<ImageId, Image>();
    const skipped: SkippedImage[] = [];
    for (const name of namesIn(this.#contents)) {
      const id = digestOfHex(name) as ImageId | undefined;
      const path = join(this.#contents, name);
      if (id === undefined) {
        if (!name.startsWith(TEMPORARY_PREFIX))
          skipped.push({ path, reason: 'its name is no digest' });
        continue;
      }
      const image = this.#read(id, path, skipped);
      if (image !== undefined) images.set(id, image);
    }
    this.#images = images;
    this.#skipped = skipped;
  }

  #read(id: ImageId, path: string, skipped: SkippedImage[]): Image | undefined {
    try {
      const facts = this.#factsOf(id, path);
      if (facts === undefined) return undefined;
      const { chainId } = facts;
      if (chainId !== undefined && this.#layers.get(chainId) === undefined) {
        throw new PlyfsError('layer-missing', `its topmost layer ${chainId} is not in the store`);
      }
      return imageOf(id, path, facts, this.#parentOf(id, skipped));
    } catch (error) {
      skipped.push({ path, reason: reasonOf(error) });
      return undefined;
    }
  }

  /**
   * Read once: the content of an id cannot change. Undefined when it has gone meanwhile. Throws
   * `image-invalid`, `platform-unsupported`, `root-damaged`.
   */
  #factsOf(id: ImageId, path: string): Facts | undefined {
    const known = this.#facts.get(id);
    if (known !== undefined) return known;
    const raw = readContent(id, path);
    if (raw === undefined) return undefined;
    const config = parseImageConfig(raw, `The configuration of image ${id}`);
    checkOperatingSystem(config, `The image ${id}`);
    const facts = factsOf(raw, config);
    this.#facts.set(id, facts);
    return facts;
  }

  /**
   * The topmost layers of all images on disk now, those of any process. Throws `root-damaged` for
   * one that cannot be read at the moment.
   */
  #chains(): ChainId[] {
    const chains: ChainId[] = [];
    for (const name of namesIn(this.#contents)) {
      const id = digestOfHex(name) as ImageId | undefined;
      if (id === undefined) continue;
      try {
        const chainId = this.#factsOf(id, join(this.#contents, name))?.chainId;
        if (chainId !== undefined) chains.push(chainId);
      } catch (error) {
        // What is no image needs nothing; of what may be one that is not known.
        if (error instanceof UnfitFile && error.what === 'unreadable') throw error;
      }
    }
    return chains;
  }

  /**
   * Publishes an image. Its layers must be in the store, and held by the caller until this returns.
   * What is there already is returned as it is. Throws `image-invalid`, `platform-unsupported`,
   * `layer-missing`.
   */
  create(raw: Uint8Array): Image {
    this.#writable();
    const id = sha256(raw) as ImageId;
    const config = parseImageConfig(raw, `The configuration of image ${id}`);
    checkOperatingSystem(config, `The image ${id}`);
    return this.#layers.exclusively<Image>(() => {
      this.refresh();
      const known = this.#images.get(id);
      if (known !== undefined) return known;
      const chainId = topChainIdOf(config);
      if (chainId !== undefined && this.#layers.get(chainId) === undefined) {
        throw new PlyfsError(
          'layer-missing',
          `The layers of image ${id} are not in the store (${chainId} is missing): load it again.`,
        );
      }
      // What a deletion that was cut off left.
      rmSync(this.#metadataPath(id), { recursive: true, force: true });
      writeFileDurably(join(this.#contents, hexOf(id)), raw, 0o600);
      this.refresh();
      const image = this.#images.get(id);
      if (image === undefined)
        throw new PlyfsError(
          'image-invalid',
          `The image ${id} was written, but is not found: see ${this.#contents}.`,
        );
      return image;
    });
  }

  /** Throws `image-missing` when one of them is not there. */
  setParent(id: ImageId, parent: ImageId): void {
    this.#writable();
    this.#layers.exclusively(() => {
      this.refresh();
      for (const each of [id, parent]) this.#existing(each);
      this.#writeMetadata(id, 'parent', parent);
      this.refresh();
    });
  }

  setLastUpdated(id: ImageId, time: Date): void {
    this.#writable();
    this.#layers.exclusively(() => {
      this.refresh();
      this.#existing(id);
      this.#writeMetadata(id, 'lastUpdated', time.toISOString());
    });
  }

  /**
   * Takes an image away, and then those of its layers that nothing else needs: returns these, the
   * topmost first. Its children become images without a parent. References to it are the caller's
   * to remove before. Throws `image-missing`.
   */
  async delete(id: ImageId): Promise<Layer[]> {
    this.#writable();
    const { chainId } = this.#layers.exclusively<Image>(() => {
      this.refresh();
      const image = this.#existing(id);
      if (image.chainId !== undefined) this.#layers.acquire(image.chainId);
      for (const child of this.children(id))
        rmSync(join(this.#metadataPath(child.id), 'parent'), { force: true });
      this.#remove(id);
      this.refresh();
      return image;
    });
    return chainId === undefined ? [] : this.#layers.release(chainId);
  }

  /**
   * First the content, so that a process that is killed here leaves metadata of no image, which is
   * nothing.
   */
  #remove(id: ImageId): void {
    rmSync(join(this.#contents, hexOf(id)));
    syncDirectory(this.#contents);
    const path = this.#metadataPath(id);
    const aside = join(dirname(path), `${TEMPORARY_PREFIX}${hexOf(id)}-${randomId()}`);
    try {
      renameSync(path, aside);
    } catch {
      return;
    }
    rmSync(aside, { recursive: true, force: true });
  }

  #existing(id: ImageId): Image {
    const image = this.#images.get(id);
    if (image === undefined)
      throw new PlyfsError('image-missing', `There is no image ${id} in the store.`);
    return image;
  }

  #writable(): void {
    if (this.#readOnly)
      throw new PlyfsError(
        'root-read-only',
        `${this.#contents} belongs to a data root that was opened to read only.`,
      );
  }

  #metadataPath(id: ImageId): string {
    return join(this.#metadata, hexOf(id));
  }

  /** What cannot be read is passed over: an image is one without a parent, too. */
  #parentOf(id: ImageId, skipped: SkippedImage[]): ImageId | undefined {
    try {
      return parseDigest(this.#readMetadata(id, 'parent') ?? '') as ImageId | undefined;
    } catch (error) {
      if (!(error instanceof UnfitFile)) throw error;
      skipped.push({ path: join(this.#metadataPath(id), 'parent'), reason: error.problem });
      return undefined;
    }
  }

  #readMetadata(id: ImageId, name: string): string | undefined {
    return readStored(join(this.#metadataPath(id), name), 'id')
      ?.toString('latin1')
      .trim();
  }

  #writeMetadata(id: ImageId, name: string, value: string): void {
    makeDirectories([this.#metadataPath(id)], 0o700);
    writeFileDurably(join(this.#metadataPath(id), name), value, 0o600);
  }
}

/** Undefined when it has gone meanwhile. Throws `image-invalid`, `root-damaged`. */
function readContent(id: ImageId, path: string): Buffer | undefined {
  const raw = readStored(path, 'configuration');
  if (raw === undefined) return undefined;
  if (sha256(raw) !== id)
    throw new PlyfsError(
      'image-invalid',
      'its content has another digest than its name: it is damaged',
    );
  return raw;
}

/** The rest of a sentence that begins with the path. */
function reasonOf(error: unknown): string {
  return error instanceof UnfitFile ? error.problem : messageOf(error);
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
