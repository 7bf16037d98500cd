/**
 * HTTP for registries, their token services and wherever they redirect to.
 *
 * What holds, whatever the other side does:
 * - an Authorization header goes to the origin that it is meant for, and is dropped when a redirect
 *   leads to another;
 * - plain HTTP is spoken only where the caller allows it, also after a redirect;
 * - a client's certificate is shown to the registry's own host alone;
 * - an answer must begin, and go on, in bounded time; how large it may be is its reader's to say.
 */
import type { Readable } from 'node:stream';
import { Agent, EnvHttpProxyAgent, errors, type Dispatcher } from 'undici';
import type { ByteSource } from '../base/byte-source.js';
import { messageOf, PlyfsError } from '../base/error.js';
import type { Certificates } from './certificates.js';
import type { Environment } from './config-file.js';
import { isLoopback } from './endpoints.js';

/** As Go's client. */
const REDIRECTS_MAX = 10;
const redirects = new Set([301, 302, 303, 307, 308]);

export interface HttpTimes {
  /** Milliseconds until a connection is there. */
  readonly connect: number;
  /** Milliseconds until an answer begins. */
  readonly headers: number;
  /** Milliseconds in which something must come of an answer that has begun. */
  readonly silence: number;
}

const defaultTimes: HttpTimes = { connect: 15_000, headers: 60_000, silence: 30_000 };

export interface Trust {
  /** Whether servers have to prove who they are. */
  readonly verify: boolean;
  /** Whether HTTP without TLS may be spoken to others than this machine itself. */
  readonly http: boolean;
  readonly certificates: Certificates;
  /** `localhost:5000`: the registry's own, to whom the client's certificates are shown. */
  readonly host: string;
}

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | Readable | string;
  readonly trust: Trust;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds in which the whole answer must have come: for what is small. */
  readonly within?: number;
}

export class HttpResponse {
  readonly status: number;
  /** Where it came from in the end. */
  readonly url: URL;
  readonly #headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly #body: Readable;

  constructor(url: URL, { statusCode, headers, body }: Dispatcher.ResponseData) {
    this.url = url;
    this.status = statusCode;
    this.#headers = headers;
    this.#body = body;
  }

  /** Of one that is there more than once, the first. `name` in lower case. */
  header(name: string): string | undefined {
    return this.headers(name)[0];
  }

  headers(name: string): readonly string[] {
    const value = this.#headers[name];
    return value === undefined ? [] : Array.isArray(value) ? value : [value];
  }

  /** What its Content-Length says. */
  get length(): number | undefined {
    const text = this.header('content-length') ?? '';
    return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
  }

  /**
   * The body. Throws `registry-unreachable` when it breaks off: what is missing can be asked for
   * again.
   */
  async *body(): ByteSource {
    try {
      yield* this.#body as AsyncIterable<Buffer>;
    } catch (error) {
      throw connectionError(error, this.url);
    }
  }

  /** All of it, up to `limit` bytes; undefined when it is longer. */
  async read(limit: number): Promise<Buffer | undefined> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    if ((this.length ?? 0) > limit) {
      this.discard();
      return undefined;
    }
    for await (const piece of this.body()) {
      length += piece.length;
      if (length > limit) return undefined;
      pieces.push(piece);
    }
    return Buffer.concat(pieces, length);
  }

  /** Closes the connection, unless all has come. */
  discard(): void {
    this.#body.on('error', () => undefined).destroy();
  }
}

export class HttpClient {
  readonly #environment: Environment;
  readonly #times: HttpTimes;
  readonly #connections: number;
  readonly #dispatchers = new Map<string, Dispatcher>();

  /** `connections`: to one origin at once. */
  constructor({
    environment,
    times = defaultTimes,
    connections = 8,
  }: {
    readonly environment: Environment;
    readonly times?: HttpTimes;
    readonly connections?: number;
  }) {
    this.#environment = environment;
    this.#times = times;
    this.#connections = connections;
  }

  /**
   * The answer, whatever its status, after redirects of GET and HEAD. Its body is the caller's to
   * read or discard. Throws `registry-unreachable`, `registry-untrusted`, `registry-invalid`, and
   * the signal's reason.
   */
  async request(request: HttpRequest): Promise<HttpResponse> {
    const { method, trust, within } = request;
    let { url } = request;
    const signals = [
      request.signal,
      within === undefined ? undefined : AbortSignal.timeout(within),
    ];
    const signal = AbortSignal.any(signals.filter((each) => each !== undefined));
    let headers = { 'user-agent': 'plyfs', ...request.headers };
    for (let hop = 0; ; hop++) {
      assertAllowed(url, trust);
      const response = await this.#once({ ...request, url, headers, signal });
      const location = response.header('location');
      if (!redirects.has(response.status) || (method !== 'GET' && method !== 'HEAD'))
        return response;
      response.discard();
      if (location === undefined || hop >= REDIRECTS_MAX)
        throw new PlyfsError(
          'registry-invalid',
          hop >= REDIRECTS_MAX
            ? `${request.url.host} redirects more than ${REDIRECTS_MAX} times: its answers lead nowhere.`
            : `${url.host} redirects, and does not say where to.`,
        );
      const next = resolved(location, url);
      if (next.origin !== url.origin)
        headers = Object.fromEntries(
          Object.entries(headers).filter(([name]) => !/^(?:authorization|cookie)$/i.test(name)),
        ) as typeof headers;
      url = next;
    }
  }

  async #once({ method, url, headers, body, trust, signal }: HttpRequest): Promise<HttpResponse> {
    try {
      const response = await this.#dispatcher(url, trust).request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: { ...headers },
        body: body ?? null,
        signal: signal ?? null,
      });
      return new HttpResponse(url, response);
    } catch (error) {
      throw connectionError(signal?.aborted === true ? signal.reason : error, url);
    }
  }

  #dispatcher(url: URL, trust: Trust): Dispatcher {
    const own = url.host === trust.host;
    const proxy = isLoopback(url.host) ? undefined : this.#proxyFor(url.protocol);
    const key = [url.protocol, trust.verify, own ? trust.host : '', proxy ?? ''].join(' ');
    const known = this.#dispatchers.get(key);
    if (known !== undefined) return known;
    const { authorities, clients } = trust.certificates;
    const tls = {
      rejectUnauthorized: trust.verify,
      ca: [...authorities],
      ...(own && {
        cert: clients.map(({ certificate }) => certificate),
        key: clients.map(({ key }) => key),
      }),
    };
    const { connect, headers, silence } = this.#times;
    const options = {
      connections: this.#connections,
      pipelining: 1,
      connect: { ...tls, timeout: connect },
      headersTimeout: headers,
      bodyTimeout: silence,
    };
    const noProxy = this.#environment['no_proxy'] ?? this.#environment['NO_PROXY'] ?? '';
    const made =
      proxy === undefined
        ? new Agent(options)
        : new EnvHttpProxyAgent({
            ...options,
            requestTls: tls,
            httpProxy: proxy,
            httpsProxy: proxy,
            noProxy,
          });
    this.#dispatchers.set(key, made);
    return made;
  }

  /** As Go and curl: each scheme has its own. */
  #proxyFor(protocol: string): string | undefined {
    const [lower, upper] =
      protocol === 'https:' ? ['https_proxy', 'HTTPS_PROXY'] : ['http_proxy', 'HTTP_PROXY'];
    const proxy = this.#environment[lower] ?? this.#environment[upper] ?? '';
    if (proxy === '') return undefined;
    const text = proxy.includes('://') ? proxy : `http://${proxy}`;
    if (!URL.canParse(text))
      throw new PlyfsError(
        'proxy-invalid',
        `The proxy that ${upper} names is no address: write it as http://host:port.`,
      );
    return text;
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    const dispatchers = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.destroy()));
  }
}

/** An address from a header. Throws `registry-invalid`. */
export function resolved(location: string, base: URL): URL {
  if (!URL.canParse(location, base.href))
    throw new PlyfsError('registry-invalid', `${base.host} leads to something that is no address.`);
  const url = new URL(location, base);
  // Credentials in an address would be somebody else's.
  url.username = '';
  url.password = '';
  url.hash = '';
  return url;
}

/**
 * Plain HTTP leads to this machine itself only for a registry that is on it: another's redirect, or
 * an address in its manifests, must not make requests of services that listen on loopback. Throws
 * `registry-untrusted`.
 */
export function assertAllowed(url: URL, trust: Pick<Trust, 'http' | 'host'>): void {
  if (url.protocol === 'https:') return;
  const here = isLoopback(url.host) && isLoopback(trust.host);
  if (url.protocol === 'http:' && (trust.http || here)) return;
  throw new PlyfsError(
    'registry-untrusted',
    url.protocol === 'http:'
      ? `${url.host} is asked for by plain HTTP, which is not done unless a registry is insecure: use --tls-verify=false, or \`insecure\` in registries.conf.`
      : `${url.host} is to be reached by ${url.protocol.slice(0, -1)}, and a registry speaks HTTPS.`,
  );
}

/** Codes of Node's and OpenSSL's errors about certificates. */
const certificateCodes =
  /^(?:CERT_|ERR_TLS_CERT|UNABLE_TO_|DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED_CERT|INVALID_(?:CA|PURPOSE)|HOSTNAME_MISMATCH|CRL_|ERROR_IN_CERT)/;

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ENOTFOUND: 'the name is not known',
  EAI_AGAIN: 'the name cannot be looked up now',
  ECONNRESET: 'the connection was closed',
  EHOSTUNREACH: 'there is no way to it',
  ENETUNREACH: 'there is no way to it',
  UND_ERR_SOCKET: 'the connection was closed',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer',
  UND_ERR_HEADERS_TIMEOUT: 'it does not answer',
  UND_ERR_BODY_TIMEOUT: 'it stopped in the middle of its answer',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'its answer ends too early',
  EPROTO: 'it does not speak TLS',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS',
};

/** `registry-unreachable`, which may be tried again, or `registry-untrusted`. */
function connectionError(error: unknown, url: URL): unknown {
  if (error instanceof PlyfsError) return error;
  const name = error instanceof Error ? error.name : '';
  if (name === 'AbortError') return error;
  if (name === 'TimeoutError')
    return new PlyfsError(
      'registry-unreachable',
      `${url.host} takes too long for what is small: it is given up.`,
      { cause: error },
    );
  // Several addresses of a name failed.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const code = first instanceof Error && 'code' in first ? String(first.code) : '';
  if (certificateCodes.test(code))
    return new PlyfsError(
      'registry-untrusted',
      `The certificate of ${url.host} is not believed (${messageOf(first)}): put its authority into certs.d/${url.host}/ca.crt, or use --tls-verify=false.`,
      { cause: error },
    );
  if (first instanceof errors.HTTPParserError || first instanceof errors.HeadersOverflowError)
    return new PlyfsError(
      'registry-invalid',
      `${url.host} answers with something that is not HTTP (${messageOf(first)}).`,
      { cause: error },
    );
  return new PlyfsError(
    'registry-unreachable',
    `${url.host} cannot be reached: ${reasons[code] ?? messageOf(first)}.`,
    { cause: error },
  );
}

/** Whether the other side does not speak TLS, or does not at this port. */
export function mayBePlain(error: unknown): boolean {
  return error instanceof PlyfsError && error.code === 'registry-unreachable';
}
