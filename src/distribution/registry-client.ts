/**
 * One repository of one registry, by the distribution specification 1.1.
 *
 * Nothing that the registry says is believed: a manifest is what its digest says or is not
 * returned, a blob's bytes are its reader's to check (blob-download.ts), and what is read into
 * memory is bounded. Requests that change nothing are tried again where that may help.
 *
 * Errors: `registry-unreachable` and `registry-failed` (tried in vain), `registry-rate-limited`,
 * `registry-unauthorized`, `registry-denied`, `registry-missing`, `registry-untrusted`,
 * `registry-invalid` for what is not the protocol, and the signal's reason.
 */
import { Readable } from 'node:stream';
import { parseJson } from '../base/bounded-json.js';
import type { ByteSource } from '../base/byte-source.js';
import { parseDigest, sha256, type Digest } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { MANIFEST_BYTES_MAX } from '../image/limits.js';
import { isForeignLayer, MANIFEST_TYPES, type Descriptor } from '../image/manifest.js';
import { Authorization, login, parseChallenges, unauthorized } from './authorization.js';
import type { Certificates } from './certificates.js';
import type { Credentials } from './credentials.js';
import type { Endpoint } from './endpoints.js';
import {
  mayBePlain,
  resolved,
  type HttpClient,
  type HttpRequest,
  type HttpResponse,
  type Trust,
} from './http.js';
import { defaultRetry, retrying, retryTime, TryLater, type RetryOptions } from './retry.js';
import type { Secret } from './secret.js';

/** Of an answer that says what went wrong. */
const ERROR_BYTES_MAX = 64 << 10;
const TAGS_BYTES_MAX = 8 << 20;
/** Milliseconds for an answer that is small. */
const SMALL_ANSWER = 120_000;
const PAGE = 1000;
/** Pages of tags: a registry that goes on for ever is ended. */
const PAGES_MAX = 1000;
const BOUNDS = { depth: 16, values: 1_000_000 };

export interface RegistryClientOptions {
  readonly http: HttpClient;
  readonly credentials: () => Promise<Credentials | undefined>;
  readonly certificates: () => Certificates;
  /** What tokens are asked for. Default: `pull`. */
  readonly actions?: 'pull' | 'pull,push';
  readonly retry?: RetryOptions;
  readonly signal?: AbortSignal | undefined;
}

export interface FetchedManifest {
  readonly digest: Digest;
  /** As the registry says. */
  readonly mediaType: string;
  readonly bytes: Buffer;
}

export interface OpenedBlob {
  readonly body: ByteSource;
  /** Which byte of the blob is the first. */
  readonly start: number;
}

export interface Upload {
  /** Where it goes on. */
  readonly location: URL;
  /** Bytes that the registry has. */
  readonly received: number;
  /** Bytes that a chunk has at least, but the last. */
  readonly chunkMin: number;
}

interface Call extends Pick<HttpRequest, 'method' | 'headers' | 'within' | 'signal'> {
  readonly url: URL;
  /** A stream is made for each attempt. */
  readonly body?: Uint8Array | (() => Readable);
  /** What is asked for, in messages. */
  readonly what: string;
  /** Of tokens, besides the repository's own. */
  readonly scopes?: readonly string[];
  /** Statuses that are answers. */
  readonly expect: readonly number[];
}

export class RegistryClient {
  readonly endpoint: Endpoint;
  readonly #options: RegistryClientOptions;
  readonly #retry: RetryOptions;
  #session: Promise<Session> | undefined;

  constructor(endpoint: Endpoint, options: RegistryClientOptions) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#retry = options.retry ?? defaultRetry;
  }

  /** The registry, and the repository on it: for messages. */
  get name(): string {
    return `${this.endpoint.configHost}/${this.endpoint.repository}`;
  }

  /** Whether a registry answers, by TLS or without, and how it wants to know who asks. */
  async ping(): Promise<void> {
    await this.#connected();
  }

  /**
   * Whether it knows these credentials. Returns an identity token, where its token service gives
   * one for a password.
   */
  async login(
    credentials: Exclude<Credentials, { readonly kind: 'registry-token' }>,
  ): Promise<Secret | undefined> {
    const { trust, base, challenge } = await this.#connected();
    const { http, signal } = this.#options;
    const registry = this.endpoint.configHost;
    const { identityToken, header } = await login(challenge, credentials, {
      http,
      trust,
      registry,
      signal,
    });
    if (header === undefined) return identityToken;
    const response = await http.request({
      method: 'GET',
      url: base,
      headers: { authorization: header.reveal() },
      trust,
      signal,
    });
    response.discard();
    if (response.status === 401 || response.status === 403)
      throw unauthorized(registry, 'refuses this name and password');
    return identityToken;
  }

  /**
   * The descriptor of what a tag or a digest means; undefined where the registry does not say its
   * digest, and it has to be fetched.
   */
  async headManifest(tagOrDigest: string): Promise<Omit<FetchedManifest, 'bytes'> | undefined> {
    const response = await this.#call({
      method: 'HEAD',
      url: await this.#url('manifests', tagOrDigest),
      headers: { accept: MANIFEST_TYPES.join(', ') },
      what: this.#whatOf(tagOrDigest),
      expect: [200],
      within: SMALL_ANSWER,
    });
    response.discard();
    const digest = parseDigest(response.header('docker-content-digest') ?? '');
    const asked = parseDigest(tagOrDigest);
    if (digest === undefined || (asked !== undefined && digest !== asked)) return undefined;
    return { digest, mediaType: mediaTypeOf(response) };
  }

  /** Throws `blob-digest-mismatch`, `manifest-too-large`. */
  async manifest(tagOrDigest: string): Promise<FetchedManifest> {
    const what = this.#whatOf(tagOrDigest);
    return this.#again(async () => {
      const response = await this.#try({
        method: 'GET',
        url: await this.#url('manifests', tagOrDigest),
        headers: { accept: MANIFEST_TYPES.join(', ') },
        what,
        expect: [200],
        within: SMALL_ANSWER,
      });
      const bytes = await response.read(MANIFEST_BYTES_MAX);
      if (bytes === undefined)
        throw new PlyfsError(
          'manifest-too-large',
          `${what} is larger than ${MANIFEST_BYTES_MAX} bytes, which no image needs.`,
        );
      const digest = sha256(bytes);
      const wanted =
        parseDigest(tagOrDigest) ?? parseDigest(response.header('docker-content-digest') ?? '');
      if (wanted !== undefined && wanted !== digest)
        throw new PlyfsError(
          'blob-digest-mismatch',
          `${what} is not what its name says: expected ${wanted}, got ${digest}.`,
        );
      return { digest, mediaType: mediaTypeOf(response), bytes };
    });
  }

  /** Bytes of a blob; undefined where there is none. */
  async blobSize(digest: Digest): Promise<number | undefined> {
    const response = await this.#call({
      method: 'HEAD',
      url: await this.#url('blobs', digest),
      what: this.#whatOf(digest),
      expect: [200, 404],
    });
    response.discard();
    return response.status === 404 ? undefined : (response.length ?? 0);
  }

  /**
   * Opens a blob, `from` a byte on where the registry can do that. One attempt: its reader tries
   * again from where it came to. Throws `blob-size-mismatch` where the answer says another size.
   */
  async openBlob(descriptor: Descriptor, from: number, signal?: AbortSignal): Promise<OpenedBlob> {
    const { digest, urls } = descriptor;
    const own = async (): Promise<URL> => this.#url('blobs', digest);
    if (urls.length === 0) return this.#open(await own(), descriptor, from, signal);
    // What may not be copied lies elsewhere, as a rule.
    const places = urls.map((url) => async () => foreignUrl(url, this.#whatOf(digest)));
    const order = isForeignLayer(descriptor) ? [...places, own] : [own, ...places];
    let failure: unknown;
    for (const place of order) {
      try {
        return await this.#open(await place(), descriptor, from, signal);
      } catch (error) {
        failure ??= error;
      }
    }
    throw failure;
  }

  async #open(
    url: URL,
    descriptor: Descriptor,
    from: number,
    signal: AbortSignal | undefined,
  ): Promise<OpenedBlob> {
    const { digest, size } = descriptor;
    const what = this.#whatOf(digest);
    const response = await this.#try({
      method: 'GET',
      url,
      headers: from > 0 ? { range: `bytes=${from}-` } : {},
      what,
      expect: from > 0 ? [200, 206, 416] : [200],
      signal,
    });
    if (response.status === 416) {
      response.discard();
      return this.#open(url, descriptor, 0, signal);
    }
    const start = response.status === 206 ? rangeStart(response) : 0;
    if (start === undefined || start > from || start + (response.length ?? size - start) !== size) {
      const said = response.length;
      response.discard();
      throw new PlyfsError(
        'blob-size-mismatch',
        start === undefined || start > from
          ? `${what} was asked for from byte ${from} on, and another part of it came.`
          : `${what} is said to have ${start + (said ?? 0)} bytes by the server, where ${size} belong.`,
      );
    }
    return { body: response.body(), start };
  }

  /** Begins to send a blob; `mounted` when it was there, in the other repository. */
  async startUpload(mount?: {
    readonly digest: Digest;
    readonly from: string;
  }): Promise<Upload | 'mounted'> {
    const url = await this.#url('blobs', 'uploads/');
    if (mount !== undefined) {
      url.searchParams.set('mount', mount.digest);
      url.searchParams.set('from', mount.from);
    }
    const response = await this.#call({
      method: 'POST',
      url,
      what: `A new blob in ${this.name}`,
      expect: [201, 202],
      ...(mount && { scopes: [`repository:${mount.from}:pull`] }),
    });
    response.discard();
    return response.status === 201 ? 'mounted' : this.#uploadIn(response, 0);
  }

  /**
   * Sends the next `length` bytes, at least one. One attempt: `uploadStatus` tells what came.
   * Throws `registry-body-too-large`.
   */
  async sendChunk(upload: Upload, body: () => ByteSource, length: number): Promise<Upload> {
    const end = upload.received + length;
    const response = await this.#try({
      method: 'PATCH',
      url: upload.location,
      headers: {
        'content-type': 'application/octet-stream',
        'content-length': String(length),
        'content-range': `${upload.received}-${end - 1}`,
      },
      body: () => Readable.from(body(), { objectMode: false }),
      what: `A blob in ${this.name}`,
      expect: [202],
    });
    response.discard();
    return this.#uploadIn(response, end);
  }

  /** How much of it the registry has. */
  async uploadStatus(upload: Upload): Promise<Upload> {
    const response = await this.#call({
      method: 'GET',
      url: upload.location,
      what: `A blob in ${this.name}`,
      expect: [204, 202],
    });
    response.discard();
    const end = /^(?:bytes=)?0-(\d{1,15})$/.exec(response.header('range') ?? '')?.[1];
    // Registries say `0-0` of a session that has no byte yet.
    return this.#uploadIn(response, end === undefined || end === '0' ? 0 : Number(end) + 1);
  }

  /** Ends it, with what is left of it. One attempt. Throws `blob-digest-mismatch`. */
  async finishUpload(upload: Upload, digest: Digest, bytes?: Uint8Array): Promise<void> {
    const url = new URL(upload.location);
    url.searchParams.set('digest', digest);
    const response = await this.#try({
      method: 'PUT',
      url,
      headers: { 'content-type': 'application/octet-stream' },
      body: bytes ?? new Uint8Array(0),
      what: `A blob in ${this.name}`,
      expect: [201, 204],
    });
    response.discard();
    const stored = parseDigest(response.header('docker-content-digest') ?? '');
    if (stored !== undefined && stored !== digest)
      throw new PlyfsError(
        'blob-digest-mismatch',
        `${this.name} has stored a blob as ${stored}, and ${digest} was sent.`,
      );
  }

  /** Throws `blob-digest-mismatch` when the registry stores it under another digest. */
  async putManifest(tagOrDigest: string, mediaType: string, bytes: Uint8Array): Promise<Digest> {
    const digest = sha256(bytes);
    const response = await this.#call({
      method: 'PUT',
      url: await this.#url('manifests', tagOrDigest),
      headers: { 'content-type': mediaType },
      body: bytes,
      what: this.#whatOf(tagOrDigest),
      expect: [200, 201, 202],
    });
    response.discard();
    const stored = parseDigest(response.header('docker-content-digest') ?? '');
    if (stored !== undefined && stored !== digest)
      throw new PlyfsError(
        'blob-digest-mismatch',
        `${this.name} has stored a manifest as ${stored}, and ${digest} was sent.`,
      );
    return digest;
  }

  /** In the registry's order. */
  async *tags(): AsyncGenerator<string, void> {
    let url: URL | undefined = await this.#url('tags', `list?n=${PAGE}`);
    const seen = new Set<string>();
    for (let page = 0; url !== undefined; page++) {
      if (page >= PAGES_MAX || seen.has(url.href))
        throw new PlyfsError('registry-invalid', `The list of tags of ${this.name} does not end.`);
      seen.add(url.href);
      const response: HttpResponse = await this.#call({
        method: 'GET',
        url,
        what: `The list of tags of ${this.name}`,
        expect: [200],
        within: SMALL_ANSWER,
      });
      yield* tagsIn(await response.read(TAGS_BYTES_MAX), this.name);
      const next = /<([^>]*)>\s*;\s*rel="?next"?/i.exec(response.header('link') ?? '')?.[1];
      url = next === undefined ? undefined : resolved(next, url);
    }
  }

  #uploadIn(response: HttpResponse, received: number): Upload {
    const location = response.header('location');
    if (location === undefined)
      throw new PlyfsError(
        'registry-invalid',
        `${this.endpoint.configHost} does not say where a blob is to be sent to.`,
      );
    const min = response.header('oci-chunk-min-length') ?? '';
    return {
      location: resolved(location, response.url),
      received,
      chunkMin: /^\d{1,12}$/.test(min) ? Number(min) : 0,
    };
  }

  #whatOf(tagOrDigest: string): string {
    return `${this.name}${tagOrDigest.includes(':') ? '@' : ':'}${tagOrDigest}`;
  }

  async #url(kind: 'manifests' | 'blobs' | 'tags', rest: string): Promise<URL> {
    const { base } = await this.#connected();
    return new URL(`${this.endpoint.repository}/${kind}/${rest}`, base);
  }

  #again<T>(work: () => Promise<T>): Promise<T> {
    return retrying(work, this.#retry, this.#options.signal);
  }

  #call(call: Call): Promise<HttpResponse> {
    return this.#again(() => this.#try(call));
  }

  /** One attempt; a second one, with another token, where the registry wants to know who asks. */
  async #try(call: Call): Promise<HttpResponse> {
    const { http, actions = 'pull' } = this.#options;
    const signals = [this.#options.signal, call.signal].filter((each) => each !== undefined);
    const signal = AbortSignal.any(signals);
    const { trust, authorization, base } = await this.#connected();
    const { url, method, headers, body, within } = call;
    const own = url.origin === base.origin;
    const scopes = [`repository:${this.endpoint.repository}:${actions}`, ...(call.scopes ?? [])];
    for (let refused = false; ;) {
      // To another host nothing goes of this one's.
      const header = own ? await authorization.header(scopes) : undefined;
      const response = await http.request({
        method,
        url,
        trust,
        signal,
        headers: { ...headers, ...(header && { authorization: header.reveal() }) },
        ...(body !== undefined && { body: typeof body === 'function' ? body() : body }),
        ...(within !== undefined && { within }),
      });
      if (call.expect.includes(response.status)) return response;
      if (response.status !== 401 || !own || refused) throw await this.#errorOf(response, call);
      response.discard();
      authorization.challenged(response, scopes, header !== undefined);
      refused = true;
    }
  }

  async #errorOf(response: HttpResponse, { what }: Call): Promise<PlyfsError> {
    const { status } = response;
    const told = await problemIn(response);
    const registry = response.url.host;
    const why = told === '' ? `status ${status}` : `${told}, status ${status}`;
    const at = retryTime(response.header('retry-after'), Date.now());
    switch (status) {
      case 401:
        return unauthorized(this.endpoint.configHost, `refuses access to ${what} (${why})`);
      case 403:
        return new PlyfsError('registry-denied', `${registry} refuses access to ${what} (${why}).`);
      case 404:
        return new PlyfsError('registry-missing', `${what} is not there (${why}).`);
      case 429: {
        const when =
          at === undefined ? 'in a while' : `at ${new Date(at).toISOString().slice(0, 19)}Z`;
        return new TryLater(
          'registry-rate-limited',
          `${registry} has had too many requests from here, or of this user (${why}): try again ${when}.`,
          at,
        );
      }
      case 413:
        return new PlyfsError(
          'registry-body-too-large',
          `${registry} takes no request as large as that for ${what} (${why}).`,
        );
      default:
        return status === 408 || status >= 500
          ? new TryLater('registry-failed', `${registry} fails to give ${what} (${why}).`, at)
          : new PlyfsError(
              'registry-invalid',
              `${registry} answers a request for ${what} in a way that is not the protocol's (${why}).`,
            );
    }
  }

  #connected(): Promise<Session> {
    // Where nobody listens, somebody waits for the answer.
    const retry = { ...this.#retry, attempts: Math.min(this.#retry.attempts, 2) };
    const { signal } = this.#options;
    return (this.#session ??= retrying(() => this.#connect(), retry, signal).catch(
      (error: unknown) => {
        this.#session = undefined;
        throw error;
      },
    ));
  }

  /** By TLS; without, where that is allowed and nobody speaks TLS there. */
  async #connect(): Promise<Session> {
    const { endpoint } = this;
    try {
      return await this.#probe('https');
    } catch (error) {
      if (!endpoint.http || !mayBePlain(error)) throw error;
      try {
        return await this.#probe('http');
      } catch (second) {
        throw mayBePlain(second) ? error : second;
      }
    }
  }

  async #probe(scheme: 'https' | 'http'): Promise<Session> {
    const { http, signal, credentials, certificates } = this.#options;
    const { host, verify, configHost } = this.endpoint;
    const trust: Trust = {
      verify,
      // This machine's own registry may speak HTTP, and lead nowhere else by it.
      http: !verify,
      certificates: certificates(),
      host,
    };
    const base = new URL(`${scheme}://${host}/v2/`);
    const response = await http.request({ method: 'GET', url: base, trust, signal });
    const { status } = response;
    if (status === 408 || status === 429 || status >= 500)
      throw await this.#errorOf(response, { what: configHost } as Call);
    response.discard();
    if (status !== 200 && status !== 401 && status !== 403)
      throw new PlyfsError(
        'registry-invalid',
        `${host} is no registry: it answers with status ${status} where version 2 of the protocol is asked for (/v2/).`,
      );
    const authorization = new Authorization({
      http,
      trust,
      registry: configHost,
      credentials,
      signal,
    });
    if (status === 401) authorization.challenged(response, [], false);
    const [challenge] = parseChallenges(response.headers('www-authenticate'));
    return { base, trust, authorization, challenge: status === 401 ? challenge : undefined };
  }
}

interface Session {
  /** `https://registry-1.docker.io/v2/` */
  readonly base: URL;
  readonly trust: Trust;
  readonly authorization: Authorization;
  readonly challenge: ReturnType<typeof parseChallenges>[number] | undefined;
}

function mediaTypeOf(response: HttpResponse): string {
  return (response.header('content-type') ?? '').split(';', 1)[0]!.trim();
}

function foreignUrl(text: string, what: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined) return resolved(text, url);
  throw new PlyfsError('registry-invalid', `${what} is said to be where no address leads.`);
}

/** Of `Content-Range: bytes 5-9/10`. */
function rangeStart(response: HttpResponse): number | undefined {
  const start = /^bytes (\d{1,15})-/.exec(response.header('content-range') ?? '')?.[1];
  return start === undefined ? undefined : Number(start);
}

/** The first of a registry's errors, in its words, and not many of them. */
async function problemIn(response: HttpResponse): Promise<string> {
  try {
    const bytes = await response.read(ERROR_BYTES_MAX);
    if (bytes === undefined) return '';
    const document = parseJson(bytes, BOUNDS) as {
      errors?: { code?: unknown; message?: unknown }[];
    };
    const [first] = document.errors ?? [];
    const text = [first?.code, first?.message].filter((each) => typeof each === 'string');
    return text.join(': ').replace(/\s+/g, ' ').slice(0, 200);
  } catch {
    return '';
  }
}

function tagsIn(bytes: Buffer | undefined, name: string): string[] {
  const bad = (): PlyfsError =>
    new PlyfsError('registry-invalid', `The list of tags of ${name} is none.`);
  if (bytes === undefined) throw bad();
  let document: unknown;
  try {
    document = parseJson(bytes, BOUNDS);
  } catch {
    throw bad();
  }
  const tags =
    typeof document === 'object' && document !== null && 'tags' in document ? document.tags : null;
  // Of a repository without tags some registries say null.
  if (tags === null) return [];
  if (!Array.isArray(tags)) throw bad();
  return tags.map((tag: unknown) => {
    if (typeof tag !== 'string' || !/^\w[\w.-]{0,127}$/.test(tag)) throw bad();
    return tag;
  });
}
