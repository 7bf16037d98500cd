/**
 * The configuration of an image made from the JSON that images had before Docker 1.10, byte for
 * byte as Docker makes it, so that the image has the id that it has there (moby 20.10,
 * image/v1/imagev1.go: MakeConfigFromV1Config, HistoryFromConfig).
 *
 * What Docker 1.8.3 and later wrote is kept as text, except for some fields; what is older (or does
 * not say) went through Go's `image.V1Image` and `container.Config` of 20.10, which drops fields
 * they lack, adds those they have, and gives all of them their order.
 */
import type { DiffId } from '../base/digest.js';
import { goJson, goMap, goObject, rawMembers, type RawJson } from './go-json.js';
import { JsonDocument } from './json.js';
import { parseRfc3339 } from './rfc3339.js';

/** What an old image's JSON says, as far as it is asked for. */
export interface V1Image {
  readonly text: string;
  /** 64 hexadecimal digits, or empty. */
  readonly parent: string;
  readonly dockerVersion: string;
  /** The step that it was, as it will be in the history. */
  readonly history: RawJson;
}

/** Throws `archive-invalid`. `what` names the file. */
export function parseV1Image(bytes: Uint8Array, what: string): V1Image {
  const json = new JsonDocument('archive-invalid', what);
  json.object(json.parse(bytes), '');
  const text = Buffer.from(bytes).toString('utf8');
  const members = rawMembers(text);
  const field = (name: string): string => json.text(valueOf(fieldOf(members, name)), name);
  const container = fieldOf(members, 'container_config');
  const command = isNull(container)
    ? null
    : words(fieldOf(rawMembers(objectText(container, json, 'container_config')), 'Cmd'), json);
  const comment = field('comment');
  const author = field('author');
  const createdBy = (command ?? []).join(' ');
  const history: [string, RawJson][] = [
    ['created', goJson(goTime(valueOf(fieldOf(members, 'created')), json))],
  ];
  if (author !== '') history.push(['author', goJson(author)]);
  if (createdBy !== '') history.push(['created_by', goJson(createdBy)]);
  if (comment !== '') history.push(['comment', goJson(comment)]);
  const parent = field('parent');
  if (parent !== '' && !/^[a-f0-9]{64}$/.test(parent))
    throw json.error('has a parent that is no id');
  return { text, parent, dockerVersion: field('docker_version'), history: goObject(history) };
}

/** `history`: of all images below and this one, the oldest first. */
export function configFromV1(
  image: V1Image,
  diffIds: readonly DiffId[],
  history: readonly RawJson[],
  what: string,
): Buffer {
  const json = new JsonDocument('archive-invalid', what);
  const members = isOlderThan183(image.dockerVersion)
    ? throughStruct(rawMembers(image.text), json)
    : rawMembers(image.text);
  for (const dropped of ['id', 'parent', 'Size', 'parent_id', 'layer_id', 'throwaway'])
    members.delete(dropped);
  const rootfs: [string, RawJson][] = [['type', goJson('layers')]];
  if (diffIds.length > 0) rootfs.push(['diff_ids', goJson(diffIds)]);
  members.set('rootfs', goObject(rootfs));
  members.set('history', `[${history.join(',')}]` as RawJson);
  return Buffer.from(goMap(members));
}

/** As moby's version.LessThan: number by number, what is no number being 0. */
function isOlderThan183(version: string): boolean {
  const numbers = version.split('.').map((part) => (/^[+-]?\d+$/.test(part) ? Number(part) : 0));
  const bound = [1, 8, 3];
  for (let index = 0; index < Math.max(numbers.length, bound.length); index++) {
    const [number, other] = [numbers[index] ?? 0, bound[index] ?? 0];
    if (number !== other) return number < other;
  }
  return false;
}

/** Go does nothing with `null`. */
type Absent = undefined | (RawJson & 'null');

/** How a field of a Go struct is read and written. Undefined: left out. */
type Codec = (value: RawJson | undefined, json: JsonDocument, field: string) => RawJson | undefined;

const isNull = (value: RawJson | undefined): value is Absent =>
  value === undefined || value === 'null';

const text: Codec = (value, json, field) => goJson(json.text(valueOf(value), field));
const optionalText: Codec = (value, json, field) =>
  json.text(valueOf(value), field) === '' ? undefined : text(value, json, field);
const flag: Codec = (value, json, field) => goJson(json.boolean(valueOf(value), field));
const optionalFlag: Codec = (value, json, field) =>
  json.boolean(valueOf(value), field) ? goJson(true) : undefined;
const list: Codec = (value, json, field) =>
  isNull(value) ? goJson(null) : goJson(json.strings(valueOf(value), field));
const optionalList: Codec = (value, json, field) =>
  json.strings(valueOf(value), field).length === 0 ? undefined : list(value, json, field);
const command: Codec = (value, json) => goJson(words(value, json));
const optionalCommand: Codec = (value, json) =>
  (words(value, json) ?? []).length === 0 ? undefined : command(value, json, '');
/** A map to empty structs. */
const set: Codec = (value, json, field) =>
  isNull(value)
    ? goJson(null)
    : goMap(new Map(json.entries(valueOf(value), field, () => goJson({}))));
const optionalSet: Codec = (value, json, field) =>
  json.entries(valueOf(value), field, () => undefined).length === 0
    ? undefined
    : set(value, json, field);
const labels: Codec = (value, json, field) =>
  isNull(value)
    ? goJson(null)
    : goMap(
        new Map(json.entries(valueOf(value), field, (item, at) => goJson(json.text(item, at)))),
      );
const optionalNumber: Codec = (value, json, field) =>
  isNull(value) ? undefined : goJson(integer(value, json, field));
const nonZeroNumber: Codec = (value, json, field) =>
  isNull(value) || integer(value, json, field) === 0
    ? undefined
    : goJson(integer(value, json, field));
const time: Codec = (value, json) => goJson(goTime(valueOf(value), json));
const struct =
  (fields: readonly (readonly [string, Codec])[], whenNull: 'zero' | 'omit'): Codec =>
  (value, json, field) => {
    if (isNull(value) && whenNull === 'omit') return undefined;
    const members = isNull(value)
      ? new Map<string, RawJson>()
      : rawMembers(objectText(value, json, field));
    return goObject(structMembers(fields, members, json, field));
  };

const healthConfig = struct(
  [
    ['Test', optionalList],
    ['Interval', nonZeroNumber],
    ['Timeout', nonZeroNumber],
    ['StartPeriod', nonZeroNumber],
    ['Retries', nonZeroNumber],
  ],
  'omit',
);

/** container.Config of 20.10, in the order of its fields. */
const containerConfig: readonly (readonly [string, Codec])[] = [
  ['Hostname', text],
  ['Domainname', text],
  ['User', text],
  ['AttachStdin', flag],
  ['AttachStdout', flag],
  ['AttachStderr', flag],
  ['ExposedPorts', optionalSet],
  ['Tty', flag],
  ['OpenStdin', flag],
  ['StdinOnce', flag],
  ['Env', list],
  ['Cmd', command],
  ['Healthcheck', healthConfig],
  ['ArgsEscaped', optionalFlag],
  ['Image', text],
  ['Volumes', set],
  ['WorkingDir', text],
  ['Entrypoint', command],
  ['NetworkDisabled', optionalFlag],
  ['MacAddress', optionalText],
  ['OnBuild', list],
  ['Labels', labels],
  ['StopSignal', optionalText],
  ['StopTimeout', optionalNumber],
  ['Shell', optionalCommand],
];

/** image.V1Image of 20.10; its Size is dropped afterwards. */
const v1Image: readonly (readonly [string, Codec])[] = [
  ['comment', optionalText],
  ['created', time],
  ['container', optionalText],
  ['container_config', struct(containerConfig, 'zero')],
  ['docker_version', optionalText],
  ['author', optionalText],
  ['config', struct(containerConfig, 'omit')],
  ['architecture', optionalText],
  ['variant', optionalText],
  ['os', optionalText],
];

function throughStruct(
  members: ReadonlyMap<string, RawJson>,
  json: JsonDocument,
): Map<string, RawJson> {
  return new Map(structMembers(v1Image, members, json, ''));
}

function structMembers(
  fields: readonly (readonly [string, Codec])[],
  members: ReadonlyMap<string, RawJson>,
  json: JsonDocument,
  at: string,
): [string, RawJson][] {
  const written: [string, RawJson][] = [];
  for (const [name, codec] of fields) {
    const value = codec(fieldOf(members, name), json, at === '' ? name : `${at}.${name}`);
    if (value !== undefined) written.push([name, value]);
  }
  return written;
}

/** Go matches the names of fields whatever their case; of several the last one counts. */
function fieldOf(members: ReadonlyMap<string, RawJson>, name: string): RawJson | undefined {
  let found: RawJson | undefined;
  for (const [key, value] of members) {
    if (key === name || key.toLowerCase() === name.toLowerCase()) found = value;
  }
  return found;
}

function valueOf(text: RawJson | undefined): unknown {
  return text === undefined ? undefined : JSON.parse(text);
}

function objectText(value: RawJson, json: JsonDocument, field: string): string {
  json.object(valueOf(value), field);
  return value;
}

/** strslice.StrSlice: a string is a list of one word. */
function words(value: RawJson | undefined, json: JsonDocument): string[] | null {
  const parsed = valueOf(value);
  if (typeof parsed === 'string') return [parsed];
  return parsed === undefined || parsed === null ? null : json.strings(parsed, 'Cmd or Entrypoint');
}

function integer(value: RawJson, json: JsonDocument, field: string): number {
  const parsed = valueOf(value);
  if (typeof parsed !== 'number' || !Number.isSafeInteger(parsed))
    throw json.error(`has something that is no whole number as ${field}`);
  return parsed;
}

/**
 * RFC 3339 as Go's time.Time writes what it read: no trailing zeros in fractions, at most
 * nanoseconds; the zero time for none.
 */
function goTime(value: unknown, json: JsonDocument): string {
  if (value === undefined || value === null) return '0001-01-01T00:00:00Z';
  const time = parseRfc3339(json.string(value, 'created'));
  if (time === undefined) throw json.error('has a time that is not one (RFC 3339): created');
  const { seconds, fraction, zone } = time;
  const digits = fraction.slice(0, 9).replace(/0+$/, '');
  return seconds + (digits === '' ? '' : `.${digits}`) + (/^[+-]00:00$/.test(zone) ? 'Z' : zone);
}
