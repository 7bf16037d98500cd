/**
 * Where a name's repository is: the registry that the name has, or what `registries.conf` puts in
 * its place, with mirrors before it. A mirror is read from and never written to.
 *
 * Plain HTTP is spoken to a registry on this machine's own addresses, and to one that is said to be
 * insecure; elsewhere a password would cross the network as it is.
 */
import { isIPv4 } from 'node:net';
import { PlyfsError } from '../base/error.js';
import {
  canonicalName,
  canonicalString,
  familiarString,
  tryParseReference,
  type Reference,
} from '../image/reference.js';
import { DOCKER_HUB } from './credentials.js';
import type { RegistriesConf, RegistrySettings } from './registries-conf.js';

/** Docker Hub's registry is not where its name leads (moby, registry/config.go). */
const DOCKER_HUB_HOST = 'registry-1.docker.io';

export interface Endpoint {
  /** Where requests go: `registry-1.docker.io`, `localhost:5000`. */
  readonly host: string;
  /** The repository there: `library/debian`. */
  readonly repository: string;
  /** Whose credentials are meant: `docker.io/library/debian`. */
  readonly scope: string;
  /** Whose certificates are meant: `docker.io`, `localhost:5000`. */
  readonly configHost: string;
  /** Whether the server has to prove who it is. */
  readonly verify: boolean;
  /**
   * Whether HTTP may be spoken where TLS is not. A certificate that is not believed is no reason
   * to.
   */
  readonly http: boolean;
  readonly mirror: boolean;
}

export interface EndpointOptions {
  /** `--tls-verify`: true or false, whatever the configuration says. */
  readonly tlsVerify?: boolean;
}

/**
 * Mirrors first, what the name means last. Throws `registry-blocked`, `registries-conf-invalid`.
 */
export function pullEndpoints(
  reference: Reference,
  conf: RegistriesConf,
  options: EndpointOptions = {},
): Endpoint[] {
  const found = settingsFor(reference, conf);
  if (found === undefined) return [endpointOf(reference, { insecure: false }, options)];
  const { settings, rest } = found;
  const place = settings.location === '' ? reference : relocated(settings.location, rest, settings);
  const mirrors = settings.mirrors
    .filter(({ pullFromMirror: use }) =>
      reference.digest === undefined ? use !== 'digest-only' : use !== 'tag-only',
    )
    .map((mirror) => endpointOf(relocated(mirror.location, rest, settings), mirror, options, true));
  return [...mirrors, endpointOf(place, settings, options)];
}

/**
 * The registry that the name has itself: `location` and mirrors are for reading
 * (containers-registries.conf(5)). Throws `registry-blocked`.
 */
export function pushEndpoint(
  reference: Reference,
  conf: RegistriesConf,
  options: EndpointOptions = {},
): Endpoint {
  const insecure = settingsFor(reference, conf)?.settings.insecure ?? false;
  return endpointOf(reference, { insecure }, options);
}

/** A registry itself, as `ply login` names it. */
export function registryEndpoint(
  registry: string,
  conf: RegistriesConf,
  options: EndpointOptions = {},
): Endpoint {
  const settings = conf.registries.get(registry);
  return {
    ...endpointOf(
      { domain: registry, path: '' },
      { insecure: settings?.insecure ?? false },
      options,
    ),
    scope: registry,
  };
}

function endpointOf(
  place: Reference,
  { insecure }: { readonly insecure: boolean },
  { tlsVerify }: EndpointOptions,
  mirror = false,
): Endpoint {
  const { domain, path } = place;
  const trusting = tlsVerify === undefined ? insecure : !tlsVerify;
  return {
    host: domain === DOCKER_HUB ? DOCKER_HUB_HOST : domain,
    repository: path,
    scope: canonicalName(place),
    configHost: domain,
    verify: !trusting,
    http: trusting || (tlsVerify === undefined && isLoopback(domain)),
    mirror,
  };
}

/** This machine's own, whatever the port; names other than `localhost` are not looked up. */
export function isLoopback(domain: string): boolean {
  const host = domain.replace(/:[0-9]+$/, '');
  return host === 'localhost' || host === '[::1]' || (isIPv4(host) && host.startsWith('127.'));
}

/** The table with the longest prefix, and what of the name follows it. */
function settingsFor(
  reference: Reference,
  conf: RegistriesConf,
): { settings: RegistrySettings; rest: string } | undefined {
  const name = canonicalString(reference);
  let best: { settings: RegistrySettings; length: number } | undefined;
  for (const settings of conf.registries.values()) {
    const length = matchLength(name, reference.domain, settings.prefix);
    const longer = best === undefined || settings.prefix.length > best.settings.prefix.length;
    if (length !== undefined && longer) best = { settings, length };
  }
  if (best === undefined) return undefined;
  if (best.settings.blocked)
    throw new PlyfsError(
      'registry-blocked',
      `${familiarString(reference)} is in a registry that ${best.settings.path} blocks (prefix ${best.settings.prefix}).`,
    );
  return { settings: best.settings, rest: name.slice(best.length) };
}

/** How much of the name the prefix stands for; undefined when it is not for this name. */
function matchLength(name: string, domain: string, prefix: string): number | undefined {
  if (prefix.startsWith('*.')) return domain.endsWith(prefix.slice(1)) ? domain.length : undefined;
  if (!name.startsWith(prefix)) return undefined;
  const next = name.charAt(prefix.length);
  // A host without its port is another registry.
  const ends = prefix.includes('/') ? ['', '/', ':', '@'] : ['/'];
  return ends.includes(next) ? prefix.length : undefined;
}

function relocated(location: string, rest: string, { path }: RegistrySettings): Reference {
  const text = location + rest;
  const reference = tryParseReference(text);
  // A host that could be a part of a path would lead to Docker Hub.
  if (reference === undefined || reference.domain !== text.split('/', 1)[0])
    throw new PlyfsError(
      'registries-conf-invalid',
      `${path} leads to "${text}", which is not the name of an image with its registry.`,
    );
  return reference;
}
