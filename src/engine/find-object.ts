/** What a word means that may stand for an image, a read-only layer or a read-write layer. */
import { hexOf } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { findImage } from '../image/find-image.js';
import type { Image } from '../image/image-store.js';
import type { Layer } from '../layer/layer.js';
import type { MountedLayer } from '../layer/mounted-layer.js';
import type { DataRoot } from './data-root.js';
import { tryFindMounted } from './containers/find.js';

export type FoundObject =
  | { readonly kind: 'image'; readonly image: Image }
  | { readonly kind: 'layer'; readonly layer: Layer }
  | { readonly kind: 'mount'; readonly mounted: MountedLayer };

export type ObjectKind = FoundObject['kind'];

/**
 * The kinds in the order in which they are tried. Throws `object-missing`, and what says that the
 * word means several.
 */
export function findObject(
  root: DataRoot,
  word: string,
  kinds: readonly [ObjectKind, ...ObjectKind[]],
): FoundObject {
  for (const kind of kinds) {
    const found = finders[kind](root, word, kinds.length === 1);
    if (found !== undefined) return found;
  }
  const [first, ...others] = kinds.map((kind) => names[kind]);
  const which =
    others.length === 0
      ? `no ${first!}`
      : `neither ${first!} ${others.map((name) => `nor ${name}`).join(' ')}`;
  throw new PlyfsError(
    'object-missing',
    `${root.root} has ${which} '${word}': \`ply images\` and \`ply ps\` list what there is.`,
  );
}

const names: Readonly<Record<ObjectKind, string>> = {
  image: 'image',
  layer: 'layer',
  mount: 'container',
};

const finders: Readonly<
  Record<ObjectKind, (root: DataRoot, word: string, only: boolean) => FoundObject | undefined>
> = {
  image(root, word, only) {
    try {
      return { kind: 'image', image: findImage(word, root).image };
    } catch (error) {
      const absent =
        error instanceof PlyfsError &&
        (error.code === 'image-missing' || error.code === 'reference-invalid');
      if (absent && !only) return undefined;
      throw error;
    }
  },
  layer(root, word) {
    const layers = layersByPrefix(root, word);
    const [layer] = layers;
    if (layers.length > 1) {
      throw new PlyfsError(
        'layer-ambiguous',
        `'${word}' begins the ChainIDs of ${layers.length} layers: write more of it.`,
      );
    }
    return layer === undefined ? undefined : { kind: 'layer', layer };
  },
  mount(root, word) {
    const mounted = tryFindMounted(root, word);
    return mounted === undefined ? undefined : { kind: 'mount', mounted };
  },
};

/** By the beginning of the ChainID, at least as much of it as is shown. */
function layersByPrefix(root: DataRoot, word: string): Layer[] {
  const [, digits] = /^(?:sha256:)?([0-9a-f]{12,64})$/.exec(word) ?? [];
  return digits === undefined
    ? []
    : root.layers.layers().filter(({ chainId }) => hexOf(chainId).startsWith(digits));
}
