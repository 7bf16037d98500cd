/**
 * Who one is to a registry: docker's `config.json` and podman's `auth.json`
 * (containers-auth.json(5)), read; and the one of them written that `ply login` means.
 *
 *     $REGISTRY_AUTH_FILE                          alone, when it is set
 *     $DOCKER_CONFIG/config.json                   or ~/.docker/config.json; written
 *     $XDG_RUNTIME_DIR/containers/auth.json        or /run/containers/UID/auth.json
 *     $XDG_CONFIG_HOME/containers/auth.json        or ~/.config/containers/auth.json
 *
 * In each file an entry is looked for by the names of the repository, then of what it is in, then
 * of the registry: `credHelpers`, then `credsStore`, then `auths`. The first that is found counts.
 * Docker Hub is `https://index.docker.io/v1/` for docker and `docker.io` for podman: both are
 * understood everywhere.
 */
import { mkdirSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeFileDurably } from '../base/durable-file.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { JsonDocument, type JsonObject } from '../image/json.js';
import { homeOf, readConfigFile, type Environment } from './config-file.js';
import {
  eraseFromHelper,
  getFromHelper,
  storeInHelper,
  type HelperCredentials,
} from './credential-helper.js';
import { Secret } from './secret.js';

export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: Secret }
  /** A refresh token of OAuth 2, which a token service gave for a password. */
  | { readonly kind: 'identity-token'; readonly username: string; readonly token: Secret }
  /** A Bearer token, sent as it is. */
  | { readonly kind: 'registry-token'; readonly token: Secret };

export const DOCKER_HUB = 'docker.io';
const DOCKER_HUB_SERVER = 'https://index.docker.io/v1/';
/** What helpers hold in the place of a name when the secret is an identity token. */
const TOKEN_USERNAME = '<token>';

interface AuthFile {
  readonly path: string;
  /** What the registry itself is called in new entries, and to helpers. */
  readonly dialect: 'docker' | 'podman';
}

interface AuthConfig {
  readonly auths: ReadonlyMap<string, JsonObject>;
  readonly credentialStore: string | undefined;
  readonly helpers: ReadonlyMap<string, string>;
}

/**
 * `scope`: a registry, or a repository with its registry (`docker.io/library/debian`). Undefined
 * when nobody logged in. Throws `credentials-invalid`, `config-unreadable`,
 * `credential-helper-failed`.
 */
export async function credentialsFor(
  scope: string,
  environment: Environment,
): Promise<Credentials | undefined> {
  for (const file of authFiles(environment)) {
    const document = readAuthFile(file);
    if (document === undefined) continue;
    const config = authConfigOf(file, document);
    const found =
      (await fromHelper(scope, config, file, environment)) ?? fromAuths(scope, config, file);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Keeps them for all repositories of `registry`; returns where. Throws as `credentialsFor`, and
 * `credentials-unwritable`.
 */
export async function saveCredentials(
  registry: string,
  credentials: Exclude<Credentials, { kind: 'registry-token' }>,
  environment: Environment,
): Promise<{ readonly path: string; readonly helper?: string }> {
  const file = fileToWrite(environment);
  const document = readAuthFile(file) ?? {};
  const config = authConfigOf(file, document);
  const server = serverOf(registry, file);
  const helper = helperOf(registry, config);
  const secret = credentials.kind === 'password' ? credentials.password : credentials.token;
  if (helper !== undefined) {
    const username = credentials.kind === 'password' ? credentials.username : TOKEN_USERNAME;
    await storeInHelper(helper, server, { username, secret }, environment);
    // docker lists the registry without a secret, so that it knows what to ask the helper for.
    writeAuths(file, document, new Map(config.auths).set(server, {}));
    return { path: file.path, helper };
  }
  const { username } = credentials;
  if (username.includes(':'))
    throw new PlyfsError(
      'credentials-invalid',
      `A user's name cannot hold a colon, as "${username}" does: name another user.`,
    );
  const plain = `${username}:${credentials.kind === 'password' ? secret.reveal() : ''}`;
  const entry = {
    auth: Buffer.from(plain).toString('base64'),
    ...(credentials.kind === 'identity-token' && { identitytoken: secret.reveal() }),
  };
  const auths = new Map(config.auths);
  for (const key of auths.keys()) if (isRegistryItself(key, registry)) auths.delete(key);
  writeAuths(file, document, auths.set(server, entry));
  return { path: file.path };
}

/**
 * Forgets what `saveCredentials` kept, in the file that is written and in its helper; false when
 * there was nothing. Throws as `saveCredentials`.
 */
export async function eraseCredentials(
  registry: string,
  environment: Environment,
): Promise<{ readonly path: string; readonly erased: boolean }> {
  const file = fileToWrite(environment);
  const document = readAuthFile(file);
  if (document === undefined) return { path: file.path, erased: false };
  const config = authConfigOf(file, document);
  const helper = helperOf(registry, config);
  const known = [...config.auths.keys()].filter((key) => isRegistryItself(key, registry));
  let erased = known.length > 0;
  if (helper !== undefined) {
    const server = serverOf(registry, file);
    const had = await getFromHelper(helper, server, environment);
    if (had !== undefined) {
      await eraseFromHelper(helper, server, environment);
      erased = true;
    }
  }
  if (known.length > 0) {
    const auths = new Map(config.auths);
    for (const key of known) auths.delete(key);
    writeAuths(file, document, auths);
  }
  return { path: file.path, erased };
}

/** In the order in which they are asked. */
function authFiles(environment: Environment): AuthFile[] {
  const { REGISTRY_AUTH_FILE: own } = environment;
  if (isSet(own)) return [{ path: own, dialect: 'podman' }];
  const { DOCKER_CONFIG: docker, XDG_RUNTIME_DIR: runtime, XDG_CONFIG_HOME: config } = environment;
  const home = homeOf(environment);
  return [
    {
      path: join(isSet(docker) ? docker : join(home, '.docker'), 'config.json'),
      dialect: 'docker',
    },
    {
      path: isSet(runtime)
        ? join(runtime, 'containers/auth.json')
        : `/run/containers/${process.geteuid?.() ?? 0}/auth.json`,
      dialect: 'podman',
    },
    {
      path: join(isSet(config) ? config : join(home, '.config'), 'containers/auth.json'),
      dialect: 'podman',
    },
  ];
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== '';
}

function fileToWrite(environment: Environment): AuthFile {
  return authFiles(environment)[0]!;
}

function documentOf({ path }: AuthFile): JsonDocument {
  return new JsonDocument('credentials-invalid', path);
}

/** Undefined where there is none. */
function readAuthFile(file: AuthFile): JsonObject | undefined {
  const bytes = readConfigFile(file.path);
  if (bytes === undefined || bytes.length === 0) return undefined;
  const json = documentOf(file);
  return json.object(json.parse(bytes), '');
}

function authConfigOf(file: AuthFile, document: JsonObject): AuthConfig {
  const json = documentOf(file);
  const store = json.text(document['credsStore'], 'credsStore');
  return {
    auths: new Map(
      json.entries(document['auths'], 'auths', (item, field) => json.object(item, field)),
    ),
    credentialStore: store === '' ? undefined : store,
    helpers: new Map(
      json.entries(document['credHelpers'], 'credHelpers', (item, field) =>
        json.string(item, field),
      ),
    ),
  };
}

/** The scope, what it is in, and at last the registry alone. */
function* scopesOf(scope: string): Iterable<string> {
  for (let at = scope; ; at = at.slice(0, at.lastIndexOf('/'))) {
    yield at;
    if (!at.includes('/')) return;
  }
}

function registryOf(scope: string): string {
  return scope.split('/', 1)[0]!;
}

/**
 * Whether the key of an entry is `registry`, in any of the forms that docker has written: with a
 * scheme, with /v1/ or /v2/ after it (docker/cli, credentials.ConvertToHostname).
 */
function isRegistryItself(key: string, registry: string): boolean {
  const bare = key.replace(/^https?:\/\//, '').replace(/\/(?:v[12]\/?)?$/, '');
  return bare === registry || (registry === DOCKER_HUB && bare === 'index.docker.io');
}

function serverOf(registry: string, { dialect }: AuthFile): string {
  return registry === DOCKER_HUB && dialect === 'docker' ? DOCKER_HUB_SERVER : registry;
}

function helperOf(registry: string, { helpers, credentialStore }: AuthConfig): string | undefined {
  const own = [...helpers].find(([key]) => isRegistryItself(key, registry));
  return own?.[1] ?? credentialStore;
}

async function fromHelper(
  scope: string,
  config: AuthConfig,
  file: AuthFile,
  environment: Environment,
): Promise<Credentials | undefined> {
  for (const part of scopesOf(scope)) {
    const helper = part.includes('/') ? config.helpers.get(part) : helperOf(part, config);
    if (helper === undefined) continue;
    const found = await getFromHelper(helper, serverOf(part, file), environment);
    if (found !== undefined) return ofHelper(found);
  }
  return undefined;
}

function ofHelper({ username, secret }: HelperCredentials): Credentials {
  return username === TOKEN_USERNAME
    ? { kind: 'identity-token', username: '', token: secret }
    : { kind: 'password', username, password: secret };
}

function fromAuths(scope: string, { auths }: AuthConfig, file: AuthFile): Credentials | undefined {
  for (const part of scopesOf(scope)) {
    const entry = auths.get(part);
    const found = entry && ofEntry(entry, part, file);
    if (found !== undefined) return found;
  }
  const registry = registryOf(scope);
  for (const [key, entry] of auths) {
    const found = isRegistryItself(key, registry) ? ofEntry(entry, key, file) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Undefined for an entry without a secret: a helper has that. */
function ofEntry(entry: JsonObject, key: string, file: AuthFile): Credentials | undefined {
  const json = documentOf(file);
  const text = (name: string): string => json.text(entry[name], `auths.${key}.${name}`);
  const [registryToken, identityToken, auth] = [
    text('registrytoken'),
    text('identitytoken'),
    text('auth'),
  ];
  if (registryToken !== '') return { kind: 'registry-token', token: new Secret(registryToken) };
  let [username, password] = [text('username'), text('password')];
  if (auth !== '') {
    const plain = Buffer.from(auth, 'base64').toString('utf8');
    const colon = plain.indexOf(':');
    if (colon < 0)
      throw json.error(
        `has no name and password in auths.${key}.auth: log in again with \`ply login ${key}\``,
      );
    username = plain.slice(0, colon);
    // docker/cli, config/configfile/file.go, decodeAuth.
    password = plain.slice(colon + 1).replace(/\0+$/, '');
  }
  if (identityToken !== '')
    return { kind: 'identity-token', username, token: new Secret(identityToken) };
  return username === '' && password === ''
    ? undefined
    : { kind: 'password', username, password: new Secret(password) };
}

/** All else in the file stays as it is. A symbolic link to it stays one. */
function writeAuths(
  file: AuthFile,
  document: JsonObject,
  auths: ReadonlyMap<string, JsonObject>,
): void {
  const text = JSON.stringify({ ...document, auths: Object.fromEntries(auths) }, null, '\t');
  try {
    mkdirSync(dirname(file.path), { recursive: true, mode: 0o700 });
    writeFileDurably(resolved(file.path), text, 0o600);
  } catch (error) {
    throw new PlyfsError(
      'credentials-unwritable',
      `${file.path} cannot be written: ${messageOf(error)}.`,
      { cause: error },
    );
  }
}

function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
