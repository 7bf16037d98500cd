/**
 * Content digests and the ids made of them (image-spec descriptor.md, "Digests"; config.md, "Layer
 * ChainID").
 *
 * A DiffID is the digest of a layer's uncompressed tar, a ChainID that of a layer with all below
 * it, an image's id that of its configuration. They are of different types, so that one is not
 * taken for another: what is parsed is a Digest, and whoever knows of what says so (`as DiffId`).
 */
import { createHash } from 'node:crypto';

declare const digest: unique symbol;
declare const kind: unique symbol;

/** `sha256:` and 64 lower-case hexadecimal digits. */
export type Digest = string & { readonly [digest]: true };
export type DiffId = Digest & { readonly [kind]: 'diff' };
export type ChainId = Digest & { readonly [kind]: 'chain' };
export type ImageId = Digest & { readonly [kind]: 'image' };

const PREFIX = 'sha256:';
const pattern = /^sha256:[0-9a-f]{64}$/;

/**
 * Undefined for anything that is not a sha256 digest in its canonical form. White space is not
 * trimmed.
 */
export function parseDigest(text: string): Digest | undefined {
  return pattern.test(text) ? (text as Digest) : undefined;
}

export function digestOfHex(hex: string): Digest | undefined {
  return parseDigest(PREFIX + hex);
}

/** The 64 digits. */
export function hexOf(digest: Digest): string {
  return digest.slice(PREFIX.length);
}

export function sha256(bytes: string | Uint8Array): Digest {
  return (PREFIX + createHash('sha256').update(bytes).digest('hex')) as Digest;
}

/** C0 is D0, Cn the digest of `C(n-1) Dn`. */
export function chainIdOf(parent: ChainId | undefined, diffId: DiffId): ChainId {
  return parent === undefined
    ? (diffId as Digest as ChainId)
    : (sha256(`${parent} ${diffId}`) as ChainId);
}

/** The ChainID of each layer of a stack, the base first. */
export function chainIdsOf(diffIds: readonly DiffId[]): ChainId[] {
  let parent: ChainId | undefined;
  return diffIds.map((diffId) => (parent = chainIdOf(parent, diffId)));
}
