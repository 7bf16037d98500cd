/** The two forms that an image's manifest has, and how one is written. */
import { MediaType } from '../image/manifest.js';
import type { Digest } from '../base/digest.js';

export type ImageForm = 'oci' | 'docker';

/** What of a blob a manifest has. */
export interface BlobFacts {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

export type LayerCompression = 'none' | 'gzip' | 'zstd';

const types = {
  oci: {
    manifest: MediaType.ociManifest,
    config: MediaType.ociConfig,
    layer: 'application/vnd.oci.image.layer.v1.tar',
  },
  docker: {
    manifest: MediaType.dockerManifest,
    config: MediaType.dockerConfig,
    layer: 'application/vnd.docker.image.rootfs.diff.tar',
  },
} as const;

export function formOf(manifestType: string): ImageForm {
  return manifestType === MediaType.dockerManifest ? 'docker' : 'oci';
}

export function compressionOf(layerType: string): LayerCompression {
  if (/[.+]gzip$/.test(layerType)) return 'gzip';
  return /[.+]zstd(?::chunked)?$/.test(layerType) ? 'zstd' : 'none';
}

/** Undefined where the form has no name for it: schema 2 has none for zstd. */
export function layerTypeOf(form: ImageForm, compression: LayerCompression): string | undefined {
  if (compression === 'none') return types[form].layer;
  if (form === 'oci') return `${types.oci.layer}+${compression}`;
  return compression === 'gzip' ? `${types.docker.layer}.gzip` : undefined;
}

/**
 * The same for the same blobs. Schema 2 as moby writes it (distribution, manifest/schema2,
 * FromStruct), so that either program gives an image the same digest; OCI as containers/image does.
 */
export function writeManifest(
  form: ImageForm,
  config: BlobFacts,
  layers: readonly (BlobFacts & {
    readonly mediaType: string;
    readonly urls?: readonly string[];
  })[],
): { mediaType: string; bytes: Buffer } {
  const { manifest: mediaType, config: configType } = types[form];
  const described = (
    type: string,
    { digest, size }: BlobFacts,
    urls: readonly string[] = [],
  ): object => ({
    mediaType: type,
    ...(form === 'docker' ? { size, digest } : { digest, size }),
    ...(urls.length > 0 && { urls }),
  });
  const document = {
    schemaVersion: 2,
    mediaType,
    config: described(configType, config),
    layers: layers.map((layer) => described(layer.mediaType, layer, layer.urls)),
  };
  const text = JSON.stringify(document, null, form === 'docker' ? 3 : 0);
  return { mediaType, bytes: Buffer.from(text) };
}
