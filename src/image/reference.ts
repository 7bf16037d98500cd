/**
 * Names of images: the grammar of the `distribution/reference` library, its normalised and its
 * familiar form.
 *
 *     reference  := name [ ":" tag ] [ "@" digest ]
 *     name       := [ domain "/" ] path            at most 255 characters of path
 *     domain     := host [ ":" port ]              host: labels, IPv4, or IPv6 in square brackets
 *     path := component { "/" component } component: [a-z0-9]+ joined by one of . _ __ or dashes
 *     tag        := [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
 *
 * `ubuntu` is normalised to `docker.io/library/ubuntu`; its familiar form, which is what people see
 * and what repositories.json holds, is `ubuntu` again.
 */
import { parseDigest, type Digest } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';

const DEFAULT_DOMAIN = 'docker.io';
/** What Docker Hub was called once. */
const LEGACY_DOMAIN = 'index.docker.io';
const OFFICIAL_PREFIX = 'library/';
export const DEFAULT_TAG = 'latest';
/** Longest path of a name. */
const PATH_LENGTH_MAX = 255;
/**
 * Longer than any reference can be (domains have no bound of their own in the grammar): nothing
 * longer is looked at.
 */
const REFERENCE_LENGTH_MAX = 4096;

/** Normalised. With neither tag nor digest it names a repository. */
export interface Reference {
  /** As `docker.io` or `localhost:5000`. */
  readonly domain: string;
  /** As `library/ubuntu`. */
  readonly path: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const component = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const label = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const pathPattern = new RegExp(`^${component}(?:/${component})*$`);
const domainPattern = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const tagPattern = /^\w[\w.-]{0,127}$/;
const identifierPattern = /^[a-f0-9]{64}$/;

/** Normalises what a person typed. Throws `reference-invalid`. */
export function parseReference(text: string): Reference {
  if (text === '') throw invalid(text, 'it is empty');
  if (text.length > REFERENCE_LENGTH_MAX)
    throw invalid(`${text.slice(0, 64)}…`, `it is longer than ${REFERENCE_LENGTH_MAX} characters`);
  if (identifierPattern.test(text))
    throw invalid(text, '64 hexadecimal digits are an image id, which cannot be a name');
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1));
  if (at >= 0 && digest === undefined)
    throw invalid(text, 'what follows the @ is not `sha256:` and 64 hexadecimal digits');
  const named = at < 0 ? text : text.slice(0, at);
  const { domain, remainder } = splitDomain(named);
  const colon = remainder.indexOf(':');
  const path = colon < 0 ? remainder : remainder.slice(0, colon);
  const tag = colon < 0 ? undefined : remainder.slice(colon + 1);
  if (path.toLowerCase() !== path)
    throw invalid(text, 'the name of a repository has no capital letters');
  if (!domainPattern.test(domain)) throw invalid(text, `"${domain}" is not the name of a host`);
  if (!pathPattern.test(path))
    throw invalid(
      text,
      'a name is made of lower-case letters and digits, with single separators between them',
    );
  if (path.length > PATH_LENGTH_MAX)
    throw invalid(text, `a name has at most ${PATH_LENGTH_MAX} characters`);
  if (tag !== undefined && !tagPattern.test(tag))
    throw invalid(text, 'a tag has 1 to 128 letters, digits, underscores, dots and dashes');
  return {
    domain,
    path,
    ...(tag !== undefined && { tag }),
    ...(digest !== undefined && { digest }),
  };
}

/** As `parseReference`; undefined instead of an error. */
export function tryParseReference(text: string): Reference | undefined {
  try {
    return parseReference(text);
  } catch {
    return undefined;
  }
}

/** Whether what was typed names a registry itself. */
export function hasDomain(text: string): boolean {
  const slash = text.indexOf('/');
  const first = text.slice(0, Math.max(slash, 0));
  return first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first;
}

/**
 * The first component is a domain if it could not be a part of a name on Docker Hub
 * (distribution/reference, normalize.go).
 */
function splitDomain(name: string): { domain: string; remainder: string } {
  const slash = name.indexOf('/');
  if (slash < 0) return { domain: DEFAULT_DOMAIN, remainder: OFFICIAL_PREFIX + name };
  const first = name.slice(0, slash);
  const isDomain = hasDomain(name);
  const domain = !isDomain || first === LEGACY_DOMAIN ? DEFAULT_DOMAIN : first;
  const rest = isDomain ? name.slice(slash + 1) : name;
  return {
    domain,
    remainder: domain === DEFAULT_DOMAIN && !rest.includes('/') ? OFFICIAL_PREFIX + rest : rest,
  };
}

function invalid(text: string, why: string): PlyfsError {
  return new PlyfsError('reference-invalid', `"${text}" is not the name of an image: ${why}.`);
}

/** With the tag `latest` where it has neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === undefined && reference.digest === undefined
    ? { ...reference, tag: DEFAULT_TAG }
    : reference;
}

export function repositoryOf(reference: Reference): Reference {
  return { domain: reference.domain, path: reference.path };
}

/**
 * A tag that is one already, as from an archive, put on a repository. Throws `reference-invalid`.
 */
export function withTag(repository: Reference, tag: string): Reference {
  if (!tagPattern.test(tag))
    throw invalid(
      `${familiarName(repository)}:${tag}`,
      'a tag has 1 to 128 letters, digits, underscores, dots and dashes',
    );
  return { ...repositoryOf(repository), tag };
}

/** `docker.io/library/ubuntu`. */
export function canonicalName(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** `docker.io/library/ubuntu:22.04`. */
export function canonicalString(reference: Reference): string {
  return canonicalName(reference) + suffixOf(reference);
}

/** The name as people see it: `ubuntu`. */
export function familiarName(reference: Reference): string {
  if (reference.domain !== DEFAULT_DOMAIN) return canonicalName(reference);
  const official = reference.path.startsWith(OFFICIAL_PREFIX)
    ? reference.path.slice(OFFICIAL_PREFIX.length)
    : undefined;
  return official === undefined || official.includes('/') ? reference.path : official;
}

/** `ubuntu:22.04`, `ubuntu@sha256:…`. */
export function familiarString(reference: Reference): string {
  return familiarName(reference) + suffixOf(reference);
}

function suffixOf({ tag, digest }: Reference): string {
  return (tag === undefined ? '' : `:${tag}`) + (digest === undefined ? '' : `@${digest}`);
}
