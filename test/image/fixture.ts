/** Archives of images in the forms that programs write, and stores to load them into. */
import { existsSync, readdirSync } from 'node:fs';
import { link, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pack } from 'tar-stream';
import type { Test } from 'tap';
import { hexOf, sha256, type Digest, type DiffId, type ImageId } from '../../src/base/digest.js';
import type { DriverName, GraphDriver } from '../../src/graphdriver/driver.js';
import { ImageStore } from '../../src/image/image-store.js';
import type { ImageStores } from '../../src/image/publish-image.js';
import { ReferenceStore } from '../../src/image/reference-store.js';
import { familiarString } from '../../src/image/reference.js';
import { contentOf, diffIdOf, openStore, tarOf } from '../layer/fixture.js';
import { workspace } from '../suites/workspace.js';

export interface Stores extends ImageStores {
  readonly driver: GraphDriver;
}

export async function openStores(
  root: string,
  options: { name?: DriverName; readOnly?: boolean } = {},
): Promise<Stores> {
  const { name = 'overlay2', readOnly = false } = options;
  const { store: layers, driver } = await openStore(root, { name, readOnly });
  const images = ImageStore.open({ root, driverName: name, layers, readOnly });
  const references = ReferenceStore.open({
    root,
    driverName: name,
    readOnly,
    exclusively: (change) => layers.exclusively(change),
  });
  return { root, layers, images, references, driver };
}

/** On an empty root of its own, beside which there is room for files. */
export async function newStores(
  t: Test,
  options: { name?: DriverName } = {},
): Promise<Stores & { base: string }> {
  const base = await workspace(t, 'root');
  const stores = await openStores(join(base, 'root'), options);
  t.teardown(() => stores.layers.close());
  return { base, ...stores };
}

export interface TestImage {
  readonly id: ImageId;
  readonly config: Buffer;
  /** Tars, the base first. */
  readonly layers: readonly Buffer[];
  readonly diffIds: readonly DiffId[];
}

/** An image of these layers, each of these files. `changes` go into the configuration. */
export async function imageOf(
  layers: readonly Readonly<Record<string, string>>[],
  changes: Readonly<Record<string, unknown>> = {},
): Promise<TestImage> {
  return imageOfTars(await Promise.all(layers.map((files) => tarOf(files))), changes);
}

export function imageOfTars(
  layers: readonly Buffer[],
  changes: Readonly<Record<string, unknown>> = {},
): TestImage {
  const diffIds = layers.map(diffIdOf);
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'] },
      created: '2024-05-06T07:08:09.1Z',
      history: diffIds.map((_, index) => ({
        created: '2024-05-06T07:08:09.1Z',
        created_by: `step ${index}`,
      })),
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: diffIds },
      ...changes,
    }),
  );
  return { id: sha256(config) as ImageId, config, layers, diffIds };
}

/** A file, or the target of a symbolic link. */
export type Member = Buffer | string | { readonly link: string } | { readonly hardLink: string };

/** A tar of these members, in this order. */
export async function archiveOf(
  members: Readonly<Record<string, Member>> | readonly (readonly [string, Member])[],
): Promise<Buffer> {
  const tar = pack();
  const entries: readonly (readonly [string, Member])[] = Array.isArray(members)
    ? (members as readonly (readonly [string, Member])[])
    : Object.entries(members as Readonly<Record<string, Member>>);
  for (const [name, member] of entries) {
    if (typeof member === 'string' || Buffer.isBuffer(member))
      tar.entry({ name, mode: 0o644 }, member);
    else if ('link' in member) tar.entry({ name, type: 'symlink', linkname: member.link });
    else tar.entry({ name, type: 'link', linkname: member.hardLink });
  }
  tar.finalize();
  return contentOf(tar as AsyncIterable<Buffer>);
}

/**
 * As `docker save` wrote it from 1.10 to 24, its manifest last. A layer that was there before is a
 * symbolic link, as there.
 */
export function docker20(
  images: readonly {
    readonly image: TestImage;
    readonly tags: readonly string[];
    readonly parent?: ImageId;
  }[],
): Record<string, Member> {
  const members: Record<string, Member> = {};
  const places = new Map<DiffId, string>();
  const manifest = images.map(({ image, tags, parent }, number) => {
    const layers = image.diffIds.map((diffId, index) => {
      const directory = `${String(number)}${String(index)}`.padEnd(64, 'e');
      const path = `${directory}/layer.tar`;
      const place = places.get(diffId);
      members[`${directory}/VERSION`] = '1.0';
      members[`${directory}/json`] = '{}';
      members[path] = place === undefined ? image.layers[index]! : { link: `../${place}` };
      if (place === undefined) places.set(diffId, path);
      return path;
    });
    members[`${hexOf(image.id)}.json`] = image.config;
    return {
      Config: `${hexOf(image.id)}.json`,
      RepoTags: tags.length === 0 ? null : tags,
      Layers: layers,
      ...(parent && { Parent: parent }),
    };
  });
  return { ...members, 'manifest.json': `${JSON.stringify(manifest)}\n`, repositories: '{}\n' };
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

/** An OCI layout in the making. */
export class OciLayout {
  readonly members: Record<string, Member> = { 'oci-layout': '{"imageLayoutVersion":"1.0.0"}' };

  blob(content: Buffer | string, mediaType: string): Descriptor {
    const bytes = Buffer.from(content);
    const digest = sha256(bytes);
    this.members[`blobs/sha256/${hexOf(digest)}`] = bytes;
    return { mediaType, digest, size: bytes.length };
  }

  /** `compressed`: what the layers are in the layout, as they are when absent. */
  image(image: TestImage, compressed: readonly Buffer[] = image.layers): Descriptor {
    const manifest = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: this.blob(image.config, 'application/vnd.oci.image.config.v1+json'),
      layers: compressed.map((layer) => this.blob(layer, 'application/vnd.oci.image.layer.v1.tar')),
    };
    return this.blob(JSON.stringify(manifest), manifest.mediaType);
  }

  index(manifests: readonly object[]): Descriptor {
    const mediaType = 'application/vnd.oci.image.index.v1+json';
    return this.blob(JSON.stringify({ schemaVersion: 2, mediaType, manifests }), mediaType);
  }

  /** All of it, with this `index.json`. */
  finish(manifests: readonly object[]): Record<string, Member> {
    return { ...this.members, 'index.json': JSON.stringify({ schemaVersion: 2, manifests }) };
  }
}

/** The members as a directory tree. */
export async function writeTree(
  directory: string,
  members: Readonly<Record<string, Member>>,
): Promise<void> {
  for (const [name, member] of Object.entries(members)) {
    const path = join(directory, name);
    await mkdir(dirname(path), { recursive: true });
    if (typeof member === 'string' || Buffer.isBuffer(member)) await writeFile(path, member);
    else if ('link' in member) await symlink(member.link, path);
    else await link(join(directory, member.hardLink), path);
  }
}

/** A file of the test's, with these bytes. */
export async function fileOf(
  stores: { readonly base: string },
  name: string,
  content: Uint8Array,
): Promise<{ path: string }> {
  const path = join(stores.base, name);
  await writeFile(path, content);
  return { path };
}

export interface WhatIsThere {
  readonly layers: readonly string[];
  readonly directories: readonly string[];
  readonly images: readonly string[];
  readonly names: readonly string[];
  readonly temporary: readonly string[];
}

/**
 * Everything below the root that a load could leave: layers, the driver's directories, images,
 * names, temporary files.
 */
export function whatIsThere({ root, layers, images, references, driver }: Stores): WhatIsThere {
  layers.refresh();
  images.refresh();
  references.refresh();
  return {
    layers: layers.layers().map(({ chainId }) => chainId),
    directories: [...driver.ids()].sort(),
    images: images
      .list()
      .map(({ id }) => id)
      .sort(),
    names: references.list().map(({ reference, id }) => `${familiarString(reference)} ${id}`),
    temporary: [join(root, 'plyfs/tmp'), join(root, 'image', driver.name, 'layerdb/tmp')].flatMap(
      (path) => (existsSync(path) ? readdirSync(path) : []),
    ),
  };
}
