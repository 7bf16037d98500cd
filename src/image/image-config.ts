/**
 * An image's configuration, validated: what the id is the digest of.
 *
 * The bytes are kept as they came, because their digest is the image's id; this view of them is
 * read-only, and fields that it does not know stay in the bytes. The rules are Docker's (moby,
 * image/image.go NewFromJSON and image/store.go Create): a `rootfs` must be there, every DiffID be
 * one, and the history must not have more entries with a layer than there are layers.
 */
import { chainIdsOf, parseDigest, type ChainId, type DiffId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { JsonDocument, type JsonObject } from './json.js';
import { CONFIG_BYTES_MAX } from './limits.js';
import { parseRfc3339 } from './rfc3339.js';

/** One step of how the image came to be, the oldest first. */
export interface HistoryEntry {
  /** RFC 3339, as in the configuration. */
  readonly created?: string;
  readonly author?: string;
  readonly createdBy?: string;
  readonly comment?: string;
  /** The step made no layer. */
  readonly emptyLayer: boolean;
}

export interface Platform {
  readonly os: string;
  /** As Go names it: `amd64`, `arm64`. Empty in images of programs that do not say. */
  readonly architecture: string;
  /** `v7` of `arm/v7`. */
  readonly variant?: string;
}

/** How a container of the image is run. */
export interface RunConfig {
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly exposedPorts: readonly string[];
  readonly volumes: readonly string[];
  readonly labels: ReadonlyMap<string, string>;
  readonly stopSignal: string;
}

export interface ImageConfig {
  readonly platform: Platform;
  /** RFC 3339, as in the configuration. */
  readonly created?: string;
  readonly author: string;
  readonly comment: string;
  readonly dockerVersion: string;
  readonly run: RunConfig;
  /** The base first. Empty for an image without layers. */
  readonly diffIds: readonly DiffId[];
  readonly history: readonly HistoryEntry[];
  /** All of it, as parsed: for showing it. */
  readonly document: JsonObject;
}

/**
 * Fields of the configuration that programs here ask for, or show (moby, image/image.go, V1Image
 * and Image).
 */
const configFields = [
  ...[
    'architecture',
    'variant',
    'os',
    'os.version',
    'os.features',
    'created',
    'author',
    'comment',
    'docker_version',
    'container',
    'config',
  ],
  ...['container_config', 'rootfs', 'history'],
];
const rootfsFields = ['type', 'diff_ids'];
const historyFields = ['created', 'author', 'created_by', 'comment', 'empty_layer'];

/** Docker's container.Config. */
const runConfigFields = [
  ...[
    'Hostname',
    'Domainname',
    'User',
    'AttachStdin',
    'AttachStdout',
    'AttachStderr',
    'ExposedPorts',
    'Tty',
    'OpenStdin',
    'StdinOnce',
    'Env',
  ],
  ...[
    'Cmd',
    'Healthcheck',
    'ArgsEscaped',
    'Image',
    'Volumes',
    'WorkingDir',
    'Entrypoint',
    'NetworkDisabled',
    'MacAddress',
    'OnBuild',
    'Labels',
  ],
  ...['StopSignal', 'StopTimeout', 'Shell'],
];
/** A string is a list of one word there (moby, api/types/strslice). */
const commandFields = ['Cmd', 'Entrypoint', 'Shell'];

/** `what` is named in errors: "the configuration of image …". Throws `image-invalid`. */
export function parseImageConfig(raw: Uint8Array, what: string): ImageConfig {
  if (raw.length > CONFIG_BYTES_MAX)
    throw new PlyfsError('image-invalid', `${what} is larger than ${CONFIG_BYTES_MAX} bytes.`);
  const json = new JsonDocument('image-invalid', what);
  const top = json.struct(json.parse(raw), '', configFields);
  const runFields = runFieldsOf(json, top['config']);
  const document = runFields === undefined ? top : { ...top, config: runFields };
  const time = (value: unknown, field: string): string | undefined => {
    if (value === undefined || value === null) return undefined;
    const text = json.string(value, field);
    // dockerd would not show the image.
    if (parseRfc3339(text) === undefined)
      throw json.error(`has "${text.slice(0, 100)}" as a time, which is none (RFC 3339): ${field}`);
    return text;
  };

  const rootfs = json.optionalStruct(document['rootfs'], 'rootfs', rootfsFields);
  if (rootfs === undefined)
    throw json.error('has no rootfs, so it does not say what layers the image has');
  const type = json.text(rootfs['type'], 'rootfs.type');
  if (type !== '' && type !== 'layers')
    throw json.error(`has a rootfs of type "${type}", where "layers" is the only one known`);
  const diffIds = json.array(rootfs['diff_ids'], 'rootfs.diff_ids', (item, field) => {
    const id = parseDigest(json.string(item, field));
    if (id === undefined) throw json.error(`has something that is no digest as ${field}`);
    return id as DiffId;
  });

  const history = json.array(document['history'], 'history', (item, field): HistoryEntry => {
    const entry = json.struct(item, field, historyFields);
    const created = time(entry['created'], `${field}.created`);
    const author = json.text(entry['author'], `${field}.author`);
    const createdBy = json.text(entry['created_by'], `${field}.created_by`);
    const comment = json.text(entry['comment'], `${field}.comment`);
    return {
      ...(created !== undefined && { created }),
      ...(author !== '' && { author }),
      ...(createdBy !== '' && { createdBy }),
      ...(comment !== '' && { comment }),
      emptyLayer: json.boolean(entry['empty_layer'], `${field}.empty_layer`),
    };
  });
  const filled = history.filter((entry) => !entry.emptyLayer).length;
  if (filled > diffIds.length) {
    throw json.error(
      `has a history of ${filled} layers, but only ${diffIds.length} in its rootfs: too many non-empty layers in the history`,
    );
  }

  const variant = json.text(document['variant'], 'variant');
  const created = time(document['created'], 'created');
  return {
    platform: {
      os: json.text(document['os'], 'os'),
      architecture: json.text(document['architecture'], 'architecture'),
      ...(variant !== '' && { variant }),
    },
    ...(created !== undefined && { created }),
    author: json.text(document['author'], 'author'),
    comment: json.text(document['comment'], 'comment'),
    dockerVersion: json.text(document['docker_version'], 'docker_version'),
    run: parseRunConfig(json, runFields ?? {}),
    diffIds,
    history,
    document,
  };
}

/**
 * Docker's container.Config with its fields as Docker spells and shows them. Undefined where there
 * is none.
 */
function runFieldsOf(json: JsonDocument, value: unknown): JsonObject | undefined {
  const config = json.optionalStruct(value, 'config', runConfigFields);
  if (config === undefined) return undefined;
  const words = commandFields.flatMap((name): [string, unknown][] =>
    typeof config[name] === 'string' ? [[name, [config[name]]]] : [],
  );
  return { ...config, ...Object.fromEntries(words) };
}

/** `config`: Docker's container.Config, as JSON. Throws the document's error. */
export function parseRunConfig(json: JsonDocument, config: JsonObject): RunConfig {
  const words = (name: string): string[] => {
    const value = config[name];
    return typeof value === 'string' ? [value] : json.strings(value, `config.${name}`);
  };
  const keys = (name: string): string[] =>
    json.entries(config[name], `config.${name}`, () => undefined).map(([key]) => key);
  return {
    user: json.text(config['User'], 'config.User'),
    env: json.strings(config['Env'], 'config.Env'),
    entrypoint: words('Entrypoint'),
    cmd: words('Cmd'),
    workingDir: json.text(config['WorkingDir'], 'config.WorkingDir'),
    exposedPorts: keys('ExposedPorts'),
    volumes: keys('Volumes'),
    labels: new Map(
      json.entries(config['Labels'], 'config.Labels', (item, field) => json.text(item, field)),
    ),
    stopSignal: json.text(config['StopSignal'], 'config.StopSignal'),
  };
}

/** Of the topmost layer; undefined for an image without layers. */
export function topChainIdOf(config: ImageConfig): ChainId | undefined {
  return chainIdsOf(config.diffIds).at(-1);
}

/**
 * Throws `platform-unsupported` for images of another operating system; an empty one means Linux
 * here.
 */
export function checkOperatingSystem(config: ImageConfig, what: string): void {
  const { os } = config.platform;
  if (os !== '' && os !== 'linux') {
    throw new PlyfsError(
      'platform-unsupported',
      `${what} is for ${os}: only images for linux can be loaded on Linux.`,
    );
  }
}
