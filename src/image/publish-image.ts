/**
 * An image's way into the store, whatever it comes from: layers first, then the image, then its
 * names.
 *
 * Invariants:
 * - every layer that the image needs is leased by this process until the image is there, so that no
 *   other deletes it; then all are released, from the top;
 * - an image is published by one rename, when all its layers are in the store, and named after
 *   that: a process that is cut off leaves at most layers that nothing needs;
 * - what was registered for an image that failed goes again.
 */
import { LostAttributes, type LostAttribute } from '../archive/lost-attributes.js';
import type { ByteSource } from '../base/byte-source.js';
import type { ChainId, ImageId } from '../base/digest.js';
import type { Layer } from '../layer/layer.js';
import type { LayerStore, RegisterOptions } from '../layer/layer-store.js';
import type { Image, ImageStore } from './image-store.js';
import { assertStorable, type ReferenceStore } from './reference-store.js';
import type { Reference } from './reference.js';

export interface ImageStores {
  /** The data root. */
  readonly root: string;
  readonly layers: LayerStore;
  readonly images: ImageStore;
  readonly references: ReferenceStore;
}

/** The layers of an image that is being made, each leased. */
export class HeldLayers {
  readonly #layers: LayerStore;
  readonly #lost: LostAttributes;
  readonly #held: ChainId[] = [];
  #top: ChainId | undefined;

  constructor(layers: LayerStore, lost: LostAttributes) {
    this.#layers = layers;
    this.#lost = lost;
  }

  /** The topmost so far. */
  get top(): ChainId | undefined {
    return this.#top;
  }

  /**
   * Makes a layer of the tar on top, or takes the one that is there (`LayerStore.register`, whose
   * errors it throws).
   */
  async register(source: ByteSource, options: Omit<RegisterOptions, 'onLost'>): Promise<Layer> {
    const layer = await this.#layers.register(source, this.#top, {
      ...options,
      onLost: this.addLost,
    });
    this.hold(layer);
    return layer;
  }

  /** Takes a layer that is there, with all below it. Throws `layer-missing`. */
  lease(chainId: ChainId): Layer {
    const layer = this.#layers.lease(chainId);
    this.hold(layer);
    return layer;
  }

  /** Takes over a layer that is the caller's to release. */
  hold({ chainId }: Layer): void {
    this.#held.push(chainId);
    this.#top = chainId;
  }

  /** What files of a layer had to do without. */
  readonly addLost = (lost: readonly LostAttribute[]): void => this.#lost.addAll(lost);

  /** From the top, so that each goes with the one above it. */
  async release(): Promise<void> {
    for (let chainId = this.#held.pop(); chainId !== undefined; chainId = this.#held.pop())
      await this.#layers.release(chainId);
  }
}

export interface Publication {
  /** Gets the layers into the store, and returns the configuration. */
  readonly make: (layers: HeldLayers) => Promise<Uint8Array>;
  /** What it is called: a reference that means another image is changed, but none by digest. */
  readonly references?: readonly Reference[];
  /** The image that it was made from. It may have gone meanwhile. */
  readonly parent?: ImageId | undefined;
  /** It was made here, not copied: the time of its naming is noted. */
  readonly made?: boolean;
}

export interface PublishedImage {
  readonly image: Image;
  /** References that meant another image before, which may have no name now. */
  readonly replaced: readonly { readonly reference: Reference; readonly former: ImageId }[];
  /** What files of the layers that were registered had to do without. */
  readonly lost: readonly LostAttribute[];
}

/**
 * Throws `reference-invalid`, `reference-conflict`, and what `make`, `ImageStore.create` and
 * releasing layers throw.
 */
export async function publishImage(
  { layers, images, references }: ImageStores,
  { make, references: names = [], parent, made = false }: Publication,
): Promise<PublishedImage> {
  names.forEach(assertStorable);
  const lost = new LostAttributes();
  const held = new HeldLayers(layers, lost);
  let image: Image;
  try {
    image = images.create(await make(held));
  } finally {
    await held.release();
  }
  if (parent !== undefined && images.get(parent) !== undefined) images.setParent(image.id, parent);
  const replaced: { reference: Reference; former: ImageId }[] = [];
  for (const reference of names) {
    const former = references.set(reference, image.id, { force: true });
    if (former !== undefined && former !== image.id) replaced.push({ reference, former });
  }
  if (made && names.length > 0) images.setLastUpdated(image.id, new Date());
  return { image, replaced, lost: lost.list() };
}
