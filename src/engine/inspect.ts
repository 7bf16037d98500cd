/**
 * `ply inspect`: all that is known of an image, a layer or a mount. An image's fields, their names
 * and order are docker's (moby, api/types/image, InspectResponse, and container, Config).
 *
 * Objects are structs, Maps are maps, as templates tell them apart: what a struct lacks is an error
 * there, what a map lacks is not.
 */
import { familiarString } from '../image/reference.js';
import type { Image } from '../image/image-store.js';
import type { Layer } from '../layer/layer.js';
import type { MountedLayer } from '../layer/mounted-layer.js';
import type { DataRoot } from './data-root.js';
import { findObject, type ObjectKind } from './find-object.js';

export type Inspected = Readonly<Record<string, unknown>>;

/** Docker looks among containers before images. Throws what `findObject` throws. */
export async function inspectObject(
  root: DataRoot,
  word: string,
  kind?: ObjectKind,
): Promise<Inspected> {
  const found = findObject(root, word, kind === undefined ? ['mount', 'image', 'layer'] : [kind]);
  switch (found.kind) {
    case 'image':
      return inspectImage(root, found.image);
    case 'layer':
      return inspectLayer(root, found.layer);
    case 'mount':
      return inspectMount(root, found.mounted);
  }
}

/** Of an image that was never tagged here. */
const NEVER = '0001-01-01T00:00:00Z';

function inspectImage(root: DataRoot, image: Image): Inspected {
  const { config } = image;
  const references = root.references.of(image.id);
  const top = image.chainId === undefined ? undefined : root.layers.get(image.chainId);
  const { variant } = config.platform;
  return {
    Id: image.id,
    RepoTags: references.filter(({ digest }) => digest === undefined).map(familiarString),
    RepoDigests: references.filter(({ digest }) => digest !== undefined).map(familiarString),
    Parent: image.parent ?? '',
    Comment: config.comment === '' ? (config.history.at(-1)?.comment ?? '') : config.comment,
    Created: config.created ?? NEVER,
    DockerVersion: config.dockerVersion,
    Author: config.author,
    Config: runConfigOf(config.document['config']),
    Architecture: config.platform.architecture,
    ...(variant !== undefined && { Variant: variant }),
    Os: config.platform.os,
    Size: root.images.size(image),
    GraphDriver: graphDriverOf(root, top?.cacheId),
    RootFS: { Type: 'layers', Layers: config.diffIds },
    Metadata: { LastTagTime: root.images.lastUpdated(image.id) ?? NEVER },
  };
}

/** Docker prints these also where the image has none. */
const runDefaults: Inspected = {
  Hostname: '',
  Domainname: '',
  User: '',
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  ExposedPorts: undefined,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Env: null,
  Cmd: null,
  Healthcheck: undefined,
  ArgsEscaped: undefined,
  Image: '',
  Volumes: null,
  WorkingDir: '',
  Entrypoint: null,
  OnBuild: null,
  Labels: null,
};

const maps = new Set(['ExposedPorts', 'Volumes', 'Labels']);

/** Fields in docker's order, then those that it does not know. */
function runConfigOf(config: unknown): Inspected {
  const own = typeof config === 'object' && config !== null ? (config as Inspected) : {};
  const names = [
    ...Object.keys(runDefaults),
    ...Object.keys(own).filter((name) => !Object.hasOwn(runDefaults, name)),
  ];
  const fields = names.map((name): [string, unknown] => [
    name,
    Object.hasOwn(own, name) ? own[name] : runDefaults[name],
  ]);
  return Object.fromEntries(
    fields
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, maps.has(name) ? mapOf(value) : value]),
  );
}

function mapOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? new Map(Object.entries(value))
    : value;
}

function graphDriverOf({ driver }: DataRoot, id: string | undefined): Inspected {
  return {
    Data: id === undefined ? null : new Map(Object.entries(driver.metadata(id))),
    Name: driver.name,
  };
}

function inspectLayer(root: DataRoot, layer: Layer): Inspected {
  return {
    ChainId: layer.chainId,
    DiffId: layer.diffId,
    Parent: layer.parent?.chainId ?? '',
    CacheId: layer.cacheId,
    Depth: layer.depth,
    Size: layer.size,
    Descriptor: layer.descriptor ?? null,
    References: root.layers.references(layer.chainId),
    GraphDriver: graphDriverOf(root, layer.cacheId),
  };
}

async function inspectMount(
  root: DataRoot,
  { name, mountId, initId, parent }: MountedLayer,
): Promise<Inspected> {
  const shown = (await root.layers.shown()).filter((layer) => layer.name === name);
  const images = root.images
    .list()
    .filter(({ chainId }) => chainId !== undefined && chainId === parent?.chainId);
  return {
    Name: name,
    MountId: mountId,
    InitId: initId ?? '',
    Parent: parent?.chainId ?? '',
    Images: images.map(({ id }) => id).sort(),
    Mounts: shown.map(({ target, readOnly, alive }) => ({
      Destination: target,
      RW: !readOnly,
      Alive: alive,
    })),
    GraphDriver: graphDriverOf(root, mountId),
  };
}
