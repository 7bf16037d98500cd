/** `ply login` and `ply logout`. */
import { UsageError } from '../../base/error.js';
import type { Environment } from '../../distribution/config-file.js';
import {
  credentialsFor,
  DOCKER_HUB,
  eraseCredentials,
  saveCredentials,
} from '../../distribution/credentials.js';
import { Registries } from '../../distribution/registries.js';
import { Secret } from '../../distribution/secret.js';
import { tryParseReference } from '../../image/reference.js';

export interface LoginOptions {
  readonly environment: Environment;
  /** Asks a person; absent where there is none to ask. */
  readonly ask?: {
    readonly username: () => Promise<string>;
    readonly password: () => Promise<string>;
  };
  readonly username?: string;
  readonly password?: string;
  readonly tlsVerify?: boolean | undefined;
  readonly signal?: AbortSignal;
}

export interface LoginView {
  readonly registry: string;
  /** The file that holds the secret, or says which helper does. */
  readonly path: string;
  readonly helper?: string;
  /** Credentials that were kept before, and still hold. */
  readonly known: boolean;
}

/**
 * Keeps credentials once the registry has accepted them. Throws UsageError, and what
 * `RegistryClient.login` and `saveCredentials` throw.
 */
export async function login(name: string | undefined, options: LoginOptions): Promise<LoginView> {
  const { environment, ask, tlsVerify, signal } = options;
  const registry = registryNamed(name);
  const registries = new Registries({ environment, tlsVerify, signal });
  try {
    const client = registries.registry(registry);
    const kept =
      options.username === undefined && options.password === undefined
        ? await credentialsFor(registry, environment)
        : undefined;
    if (kept !== undefined && kept.kind !== 'registry-token') {
      await client.login(kept);
      return { registry, path: '', known: true };
    }
    const username = options.username ?? (await ask?.username());
    if (username === undefined || username === '')
      throw new UsageError('Name the user with --username');
    const text = options.password ?? (await ask?.password());
    if (text === undefined)
      throw new UsageError(
        'Standard input is no terminal to ask for the password at: give it with --password-stdin',
      );
    if (text === '') throw new UsageError('The password is empty');
    const password = new Secret(text);
    const identity = await client.login({ kind: 'password', username, password });
    const saved = await saveCredentials(
      registry,
      identity === undefined
        ? { kind: 'password', username, password }
        : { kind: 'identity-token', username, token: identity },
      environment,
    );
    return { registry, ...saved, known: false };
  } finally {
    await registries.close();
  }
}

export interface LogoutView {
  readonly registry: string;
  /** False when nobody was logged in. */
  readonly erased: boolean;
}

/** Throws UsageError, and what `eraseCredentials` throws. */
export async function logout(
  name: string | undefined,
  { environment }: { readonly environment: Environment },
): Promise<LogoutView> {
  const registry = registryNamed(name);
  const { erased } = await eraseCredentials(registry, environment);
  return { registry, erased };
}

/** As docker takes it: with a scheme or a path it is still that host. */
function registryNamed(name = DOCKER_HUB): string {
  const host = name.replace(/^https?:\/\//, '').split('/', 1)[0]!;
  const registry = host === 'index.docker.io' ? DOCKER_HUB : host;
  if (tryParseReference(`${registry}/x`)?.domain !== registry)
    throw new UsageError(`'${name}' is not the name of a registry: write it as host or host:port`);
  return registry;
}
