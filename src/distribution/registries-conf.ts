/**
 * `registries.conf`, version 2, and its drop-ins (containers-registries.conf(5),
 * containers-registries.conf.d(5)).
 *
 *     $CONTAINERS_REGISTRIES_CONF                  in the place of the machine's file
 *     ~/.config/containers/registries.conf         with its drop-ins alone, where it is there
 *     /etc/containers/registries.conf              then /etc/containers/registries.conf.d/*.conf,
 *                                                  then ~/.config/containers/registries.conf.d/
 *
 * A later file replaces what an earlier one says of the same setting, and a `[[registry]]` of the
 * same prefix; aliases are joined, and one with an empty value is taken away.
 */
import { join } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { PlyfsError } from '../base/error.js';
import { JsonDocument, type JsonObject } from '../image/json.js';
import { homeOf, listConfigDirectory, readConfigFile, type Environment } from './config-file.js';

/** For which pulls a mirror is used. */
export type PullFromMirror = 'all' | 'digest-only' | 'tag-only';

export interface MirrorSettings {
  readonly location: string;
  readonly insecure: boolean;
  readonly pullFromMirror: PullFromMirror;
}

export interface RegistrySettings {
  /** `host[:port][/path[:tag|@digest]]` or `*.host`: of the names it is for. */
  readonly prefix: string;
  /** What takes the place of the prefix; empty: the name stays as it is. */
  readonly location: string;
  readonly insecure: boolean;
  readonly blocked: boolean;
  readonly mirrors: readonly MirrorSettings[];
  /** The file, for messages. */
  readonly path: string;
}

export type ShortNameMode = 'enforcing' | 'permissive' | 'disabled';

export interface RegistriesConf {
  /** By prefix. */
  readonly registries: ReadonlyMap<string, RegistrySettings>;
  /** Empty: Docker Hub. */
  readonly searchRegistries: readonly string[];
  readonly shortNameMode: ShortNameMode;
  /** Names without a registry, tag and digest, and what each means. */
  readonly aliases: ReadonlyMap<string, string>;
}

/** As if there were no file. */
export const NO_REGISTRIES_CONF: RegistriesConf = {
  registries: new Map(),
  searchRegistries: [],
  shortNameMode: 'permissive',
  aliases: new Map(),
};

const SYSTEM_FILE = '/etc/containers/registries.conf';

/** Throws `registries-conf-invalid`, `config-unreadable`. */
export function readRegistriesConf(environment: Environment): RegistriesConf {
  return registriesConfFiles(environment).reduce((conf, path) => {
    const bytes = readConfigFile(path);
    return bytes === undefined ? conf : merged(conf, bytes.toString('utf8'), path);
  }, NO_REGISTRIES_CONF);
}

function registriesConfFiles(environment: Environment): string[] {
  const { CONTAINERS_REGISTRIES_CONF: named } = environment;
  const user = join(homeOf(environment), '.config/containers/registries.conf');
  const main = named !== undefined && named !== '' ? named : undefined;
  if (main === undefined && readConfigFile(user) !== undefined) return [user, ...dropIns(user)];
  return [main ?? SYSTEM_FILE, ...dropIns(SYSTEM_FILE), ...dropIns(user)];
}

function dropIns(file: string): string[] {
  return listConfigDirectory(`${file}.d`)
    .filter((name) => name.endsWith('.conf'))
    .map((name) => join(`${file}.d`, name));
}

/** Throws `registries-conf-invalid`. */
export function merged(before: RegistriesConf, text: string, path: string): RegistriesConf {
  const json = new JsonDocument('registries-conf-invalid', path);
  const document = json.object(tomlOf(text, path), '');
  const former = json.optionalObject(document['registries'], 'registries');
  if (former !== undefined)
    throw json.error(
      'is of version 1 ([registries.search], [registries.insecure], [registries.block]): write it as version 2, with [[registry]] and unqualified-search-registries',
    );
  const registries = new Map(before.registries);
  const own = new Set<string>();
  for (const registry of json.array(document['registry'], 'registry', (item, field) =>
    registryOf(json, json.object(item, field), field, path),
  )) {
    if (own.has(registry.prefix))
      throw json.error(`has two tables [[registry]] for the prefix ${registry.prefix}`);
    registries.set(registry.prefix, registry);
    own.add(registry.prefix);
  }
  const search = document['unqualified-search-registries'];
  const mode = json.text(document['short-name-mode'], 'short-name-mode');
  return {
    registries,
    searchRegistries:
      search === undefined
        ? before.searchRegistries
        : json.strings(search, 'unqualified-search-registries').map((host) => {
            if (!isHost(host))
              throw json.error(`names "${host}", which is no registry, to search in`);
            return host;
          }),
    shortNameMode: mode === '' ? before.shortNameMode : shortNameMode(json, mode),
    aliases: aliasesOf(json, document['aliases'], before.aliases),
  };
}

function tomlOf(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [why = ''] = error.message.replace(/^Invalid TOML document: /, '').split('\n');
    throw new PlyfsError(
      'registries-conf-invalid',
      `${path} is not TOML at line ${error.line}, column ${error.column}: ${why}.`,
      { cause: error },
    );
  }
}

function registryOf(
  json: JsonDocument,
  table: JsonObject,
  field: string,
  path: string,
): RegistrySettings {
  const locationText = json.text(table['location'], `${field}.location`);
  const prefixText = json.text(table['prefix'], `${field}.prefix`);
  const wildcard = prefixText.startsWith('*.');
  const location = locationText === '' ? '' : place(json, locationText, `${field}.location`);
  if (prefixText === '' && location === '')
    throw json.error(`has neither a prefix nor a location in ${field}`);
  const prefix =
    prefixText === ''
      ? location
      : wildcard
        ? hostPart(json, prefixText, `${field}.prefix`)
        : place(json, prefixText, `${field}.prefix`);
  if (location === '' && !wildcard) throw json.error(`has no location for the prefix ${prefix}`);
  const digestOnly = json.boolean(table['mirror-by-digest-only'], `${field}.mirror-by-digest-only`);
  return {
    prefix,
    location,
    insecure: json.boolean(table['insecure'], `${field}.insecure`),
    blocked: json.boolean(table['blocked'], `${field}.blocked`),
    mirrors: json.array(table['mirror'], `${field}.mirror`, (item, at) =>
      mirrorOf(json, json.object(item, at), at, digestOnly),
    ),
    path,
  };
}

function mirrorOf(
  json: JsonDocument,
  table: JsonObject,
  field: string,
  digestOnly: boolean,
): MirrorSettings {
  const use = json.text(table['pull-from-mirror'], `${field}.pull-from-mirror`);
  if (use !== '' && digestOnly)
    throw json.error(`has both mirror-by-digest-only and ${field}.pull-from-mirror`);
  if (use !== '' && use !== 'all' && use !== 'digest-only' && use !== 'tag-only')
    throw json.error(
      `has "${use}" where all, digest-only or tag-only belongs: ${field}.pull-from-mirror`,
    );
  return {
    location: place(json, json.string(table['location'], `${field}.location`), `${field}.location`),
    insecure: json.boolean(table['insecure'], `${field}.insecure`),
    pullFromMirror: digestOnly ? 'digest-only' : use === '' ? 'all' : use,
  };
}

/** Without the slashes that may stand at its end. */
function place(json: JsonDocument, text: string, field: string): string {
  const bare = text.replace(/\/+$/, '');
  if (/:\/\//.test(bare)) throw json.error(`has a scheme where only a host belongs: ${field}`);
  if (!isHost(bare.split('/', 1)[0]!)) throw json.error(`names no host in ${field}: "${text}"`);
  return bare;
}

function hostPart(json: JsonDocument, text: string, field: string): string {
  if (!isHost(text.slice('*.'.length)))
    throw json.error(`has "${text}" where *. and a host belong: ${field}`);
  return text;
}

function isHost(text: string): boolean {
  return /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/.test(text);
}

function shortNameMode(json: JsonDocument, mode: string): ShortNameMode {
  if (mode === 'enforcing' || mode === 'permissive' || mode === 'disabled') return mode;
  throw json.error(
    `has "${mode}" where enforcing, permissive or disabled belongs: short-name-mode`,
  );
}

function aliasesOf(
  json: JsonDocument,
  table: unknown,
  before: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  const aliases = new Map(before);
  for (const [name, value] of json.entries(table, 'aliases', (item, field) =>
    json.string(item, field),
  )) {
    if (value === '') aliases.delete(name);
    else aliases.set(name, value);
  }
  return aliases;
}
