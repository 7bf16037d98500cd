/**
 * A container: a read-write layer, and how a program is to be run on it.
 *
 * The layer is what the layer store has under the container's name. What it is for beside that is
 * in the layer's record (src/layer/mount-records.ts), a JSON object with the names of Docker's own
 * `config.v2.json`, which is read where dockerd made the layer:
 *
 *     Created     RFC 3339
 *     Image       the image's id; absent for a container on a layer
 *     Config container.Config, the image's with what was asked for put in; its `Image` is what the
 *       image was called
 *
 * A layer that `ply mount IMAGE` made has none, and is a container as its image says.
 */
import { join } from 'node:path';
import { hexOf, parseDigest, type ImageId } from '../../base/digest.js';
import { PlyfsError } from '../../base/error.js';
import { parseRunConfig, type RunConfig } from '../../image/image-config.js';
import type { Image } from '../../image/image-store.js';
import { JsonDocument, type JsonObject } from '../../image/json.js';
import { familiarString } from '../../image/reference.js';
import type { MountedLayer } from '../../layer/mounted-layer.js';
import { readStored } from '../../sys/stored-file.js';
import type { DataRoot } from '../data-root.js';

export interface Container {
  readonly name: string;
  /** 64 hexadecimal digits: the mount-id, or dockerd's id of the container. */
  readonly id: string;
  /** What the image was called when the container was made, or is called now. */
  readonly image?: string;
  readonly imageId?: ImageId;
  /** RFC 3339. */
  readonly created?: string;
  readonly config: ContainerRunConfig;
  readonly mounted: MountedLayer;
  /** dockerd made it, and knows it by its directory's name. */
  readonly ofDocker: boolean;
}

export interface ContainerRunConfig extends RunConfig {
  readonly hostname: string;
  /** All of container.Config, as JSON. */
  readonly document: JsonObject;
}

/** What is asked for beside what the image says (moby, daemon/commit.go, merge). */
export interface ConfigOverrides {
  readonly command?: readonly string[];
  /** Empty: none. The image's command was meant for the image's entrypoint, and goes with it. */
  readonly entrypoint?: readonly string[];
  /** `NAME=VALUE`, each in place of the image's of that name. */
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly hostname?: string;
  /** Beside the image's. */
  readonly labels?: ReadonlyMap<string, string>;
}

interface ContainerRecord {
  readonly created?: string;
  readonly imageId?: ImageId;
  readonly config: JsonObject;
  /** dockerd's. */
  readonly name?: string;
}

/** The text of the record of a container to be made. */
export function newRecord(
  image: Image | undefined,
  imageName: string | undefined,
  overrides: ConfigOverrides,
  created: Date,
): string {
  const config = { ...merged(configOf(image), overrides), Image: imageName ?? '' };
  return JSON.stringify({
    Created: created.toISOString(),
    ...(image !== undefined && { Image: image.id }),
    Config: config,
  });
}

function merged(own: JsonObject, overrides: ConfigOverrides): JsonObject {
  const json = new JsonDocument('image-invalid', "The image's configuration");
  const { env, labels } = parseRunConfig(json, own);
  const { command, entrypoint, workdir, user, hostname } = overrides;
  const nameOf = (variable: string): string => variable.split('=', 1)[0]!;
  const given = new Set((overrides.env ?? []).map(nameOf));
  return {
    ...own,
    Hostname: hostname ?? '',
    ...(user !== undefined && { User: user }),
    ...(overrides.env !== undefined && {
      Env: [...env.filter((variable) => !given.has(nameOf(variable))), ...overrides.env],
    }),
    ...(entrypoint !== undefined && {
      Entrypoint: entrypoint.length === 0 ? null : entrypoint,
      Cmd: null,
    }),
    ...(command !== undefined && { Cmd: command }),
    ...(workdir !== undefined && { WorkingDir: workdir }),
    ...(overrides.labels !== undefined && {
      Labels: Object.fromEntries([...labels, ...overrides.labels]),
    }),
  };
}

/** Whether it was made to be a container. A damaged record is one. */
export function hasRecord(mounted: MountedLayer): boolean {
  try {
    return mounted.record() !== undefined;
  } catch (error) {
    if (error instanceof PlyfsError) return true;
    throw error;
  }
}

/** Throws `record-damaged`. */
export function containerOf(root: DataRoot, mounted: MountedLayer): Container {
  const own = mounted.record();
  const record =
    own === undefined
      ? undefined
      : parseRecord(own, `The record of the container '${mounted.name}'`);
  const docker = record === undefined ? dockerRecordOf(root, mounted.name) : undefined;
  const known = record ?? docker;
  const image =
    known === undefined
      ? imageOnTop(root, mounted)
      : known.imageId && root.images.get(known.imageId);
  const imageId = known?.imageId ?? image?.id;
  const document = known?.config ?? configOf(image);
  const id = docker === undefined ? mounted.mountId : mounted.name;
  const name = docker?.name ?? mounted.name;
  const json = new JsonDocument('record-damaged', `The record of the container '${name}'`);
  const hostname = json.text(document['Hostname'], 'Config.Hostname');
  const called = known === undefined ? undefined : json.text(document['Image'], 'Config.Image');
  const shown =
    called !== undefined && called !== '' ? called : imageId && nameOfImage(root, imageId);
  return {
    name,
    id,
    ...(shown !== undefined && { image: shown }),
    ...(imageId !== undefined && { imageId }),
    ...(known?.created !== undefined && { created: known.created }),
    config: {
      ...parseRunConfig(json, document),
      hostname: hostname === '' ? id.slice(0, 12) : hostname,
      document,
    },
    mounted,
    ofDocker: docker !== undefined,
  };
}

function configOf(image: Image | undefined): JsonObject {
  const config = image?.config.document['config'];
  return typeof config === 'object' && config !== null ? (config as JsonObject) : {};
}

/**
 * The image, or one of the images, that has the layer's parent for its topmost one: one with a
 * name, if there is.
 */
function imageOnTop(root: DataRoot, { parent }: MountedLayer): Image | undefined {
  if (parent === undefined) return undefined;
  const images = root.images.list().filter(({ chainId }) => chainId === parent.chainId);
  return images.find(({ id }) => root.references.of(id).length > 0) ?? images[0];
}

/** By a name where it has one. */
export function nameOfImage(root: DataRoot, id: ImageId): string {
  const [reference] = root.references.of(id);
  return reference === undefined ? hexOf(id).slice(0, 12) : familiarString(reference);
}

const timePattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/;

/** Throws `record-damaged`. */
function parseRecord(bytes: Buffer, what: string): ContainerRecord {
  const json = new JsonDocument('record-damaged', what);
  const object = json.object(json.parse(bytes), '');
  const image = json.text(object['Image'], 'Image');
  const imageId = image === '' ? undefined : parseDigest(image);
  if (image !== '' && imageId === undefined)
    throw json.error('has something that is no digest as Image');
  const created = json.text(object['Created'], 'Created');
  if (created !== '' && !timePattern.test(created))
    throw json.error('has a time that is not one (RFC 3339): Created');
  const name = json.text(object['Name'], 'Name').replace(/^\//, '');
  const config = json.optionalObject(object['Config'], 'Config') ?? {};
  parseRunConfig(json, config);
  json.text(config['Hostname'], 'Config.Hostname');
  json.text(config['Image'], 'Config.Image');
  return {
    config,
    ...(imageId !== undefined && { imageId: imageId as ImageId }),
    ...(created !== '' && { created }),
    ...(name !== '' && { name }),
  };
}

/**
 * What dockerd wrote of the container whose id is the layer's name; undefined where it did not, or
 * cannot be understood.
 */
export function dockerRecordOf(root: DataRoot, name: string): ContainerRecord | undefined {
  if (!/^[0-9a-f]{64}$/.test(name)) return undefined;
  try {
    const bytes = readStored(join(root.root, 'containers', name, 'config.v2.json'), 'record');
    return bytes === undefined
      ? undefined
      : parseRecord(bytes, `dockerd's record of the container ${name}`);
  } catch (error) {
    if (error instanceof PlyfsError) return undefined;
    throw error;
  }
}
