/**
 * A registry in the memory of the test's own process: the distribution specification 1.1, to pull
 * from and to push to, with Basic authorization or a token service, and a hook to lie with.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

export interface SeenRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  /** Bytes of its body that have arrived. */
  bytes: number;
}

interface Repository {
  readonly blobs: Map<string, Buffer>;
  /** By tag and by digest. */
  readonly manifests: Map<string, { readonly type: string; readonly bytes: Buffer }>;
}

export interface MemoryRegistryOptions {
  /** Names and passwords; without, anybody may do anything. */
  readonly users?: Readonly<Record<string, string>>;
  /** How they are asked for: `Basic`, or a token of a service at /token. Default: basic. */
  readonly authorization?: 'basic' | 'token';
  /** Seconds that a token is good for. Default: 300. */
  readonly tokenLife?: number;
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Tags in one page of a list. */
  readonly pageSize?: number;
  /** Returns true when it has seen to the request itself. */
  readonly intercept?: Intercept;
}

export type Intercept = (
  request: IncomingMessage,
  response: ServerResponse,
) => boolean | Promise<boolean>;

export interface MemoryRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly url: string;
  readonly requests: SeenRequest[];
  readonly repositories: Map<string, Repository>;
  /** What the token service was asked for: `repository:x:pull,push`. */
  readonly scopes: string[];
  intercept: Intercept | undefined;
  /** Called with each piece of a body that comes, and how many bytes came before it. */
  onBody: ((request: IncomingMessage, before: number) => void) | undefined;
  repository(name: string): Repository;
  putBlob(repository: string, bytes: Buffer | string): { digest: string; size: number };
  putManifest(repository: string, tag: string, type: string, manifest: unknown): string;
  /** Those of one kind, as `counted('GET', '/blobs/')`. */
  counted(method: string, part: string): SeenRequest[];
  close(): Promise<void>;
}

const digestOf = (bytes: Buffer): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** It ends with the test. */
export async function startMemoryRegistry(
  t: Test,
  options: MemoryRegistryOptions = {},
): Promise<MemoryRegistry> {
  const registry = new Registry(options);
  await registry.listen();
  t.teardown(() => registry.close());
  return registry;
}

class Registry implements MemoryRegistry {
  readonly requests: SeenRequest[] = [];
  readonly repositories = new Map<string, Repository>();
  readonly scopes: string[] = [];
  intercept: Intercept | undefined;
  onBody: ((request: IncomingMessage, before: number) => void) | undefined;
  readonly #options: MemoryRegistryOptions;
  readonly #server: Server;
  readonly #uploads = new Map<string, Buffer[]>();
  /** Tokens, and when each ends. */
  readonly #tokens = new Map<string, { readonly until: number; readonly scopes: string[] }>();
  #serial = 0;

  constructor(options: MemoryRegistryOptions) {
    this.#options = options;
    this.intercept = options.intercept;
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      this.#serve(request, response).catch((error: unknown) => response.destroy(error as Error));
    };
    this.#server =
      options.tls === undefined ? createServer(serve) : createTlsServer(options.tls, serve);
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get url(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://${this.host}`;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  repository(name: string): Repository {
    const known = this.repositories.get(name) ?? { blobs: new Map(), manifests: new Map() };
    this.repositories.set(name, known);
    return known;
  }

  putBlob(repository: string, content: Buffer | string): { digest: string; size: number } {
    const bytes = Buffer.from(content);
    const digest = digestOf(bytes);
    this.repository(repository).blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  }

  putManifest(repository: string, tag: string, type: string, manifest: unknown): string {
    const bytes = Buffer.from(typeof manifest === 'string' ? manifest : JSON.stringify(manifest));
    const digest = digestOf(bytes);
    for (const name of [tag, digest])
      this.repository(repository).manifests.set(name, { type, bytes });
    return digest;
  }

  counted(method: string, part: string): SeenRequest[] {
    return this.requests.filter((one) => one.method === method && one.url.includes(part));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request;
    const seen: SeenRequest = { method, url, headers, bytes: 0 };
    this.requests.push(seen);
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    const body: Buffer[] = [];
    if (this.intercept !== undefined && (await this.intercept(request, response))) return;
    try {
      for await (const piece of request as AsyncIterable<Buffer>) {
        this.onBody?.(request, seen.bytes);
        seen.bytes += piece.length;
        body.push(piece);
      }
    } catch (error) {
      // What came of a blob before the connection broke is kept.
      const id = method === 'PATCH' ? /\/uploads\/([^?]*)/.exec(url)?.[1] : undefined;
      this.#uploads.get(id ?? '')?.push(...body);
      throw error;
    }
    this.#answer(new URL(url, this.url), request, response, Buffer.concat(body));
  }

  #answer(
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
    body: Buffer,
  ): ServerResponse {
    const { method = '' } = request;
    if (url.pathname === '/token') return this.#token(url, request, response, body);
    const route = /^\/v2\/(?:(.+)\/(manifests|blobs|tags)\/(.*))?$/.exec(url.pathname);
    if (route === null) return error(response, 404, 'NAME_UNKNOWN');
    const [, name = '', kind, rest = ''] = route;
    const actions = method === 'GET' || method === 'HEAD' ? ['pull'] : ['pull', 'push'];
    if (!this.#allowed(request, name, actions)) return this.#challenge(response, name, actions);
    if (kind === undefined) return send(response, 200, {}, '{}');
    switch (kind) {
      case 'manifests':
        return this.#manifest(method, name, decodeURIComponent(rest), request, response, body);
      case 'tags':
        return this.#tags(name, url, response);
      default:
        return rest.startsWith('uploads/')
          ? this.#upload(method, name, rest.slice('uploads/'.length), url, request, response, body)
          : this.#blob(method, name, decodeURIComponent(rest), request, response);
    }
  }

  #allowed(request: IncomingMessage, name: string, actions: readonly string[]): boolean {
    const { users, authorization: kind = 'basic' } = this.#options;
    if (users === undefined) return true;
    const [scheme = '', value = ''] = (request.headers.authorization ?? '').split(' ');
    if (kind === 'basic') return scheme === 'Basic' && this.#userOf(value) !== undefined;
    const token = this.#tokens.get(value);
    if (scheme !== 'Bearer' || token === undefined || token.until < Date.now()) return false;
    if (name === '') return true;
    return actions.every((action) =>
      token.scopes.some((scope) => {
        const [, repository, allowed = ''] = scope.split(':');
        return repository === name && allowed.split(',').includes(action);
      }),
    );
  }

  #userOf(basic: string): string | undefined {
    const [name = '', ...password] = Buffer.from(basic, 'base64').toString().split(':');
    return this.#options.users?.[name] === password.join(':') ? name : undefined;
  }

  #challenge(response: ServerResponse, name: string, actions: readonly string[]): ServerResponse {
    const scope = name === '' ? '' : `,scope="repository:${name}:${actions.join(',')}"`;
    const challenge =
      this.#options.authorization === 'token'
        ? `Bearer realm="${this.url}/token",service="memory"${scope}`
        : 'Basic realm="memory"';
    return error(response, 401, 'UNAUTHORIZED', { 'www-authenticate': challenge });
  }

  /** By Basic with GET, or by the form of OAuth 2 with POST. */
  #token(
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
    body: Buffer,
  ): ServerResponse {
    const form = request.method === 'POST' ? new URLSearchParams(body.toString()) : undefined;
    const basic = request.headers.authorization?.replace('Basic ', '');
    const user =
      form?.get('grant_type') === 'password'
        ? this.#userOf(
            Buffer.from(`${form.get('username') ?? ''}:${form.get('password') ?? ''}`).toString(
              'base64',
            ),
          )
        : form?.get('grant_type') === 'refresh_token'
          ? /^identity-of-(.+)$/.exec(form.get('refresh_token') ?? '')?.[1]
          : basic === undefined
            ? undefined
            : this.#userOf(basic);
    if (user === undefined) return error(response, 401, 'UNAUTHORIZED');
    const scopes = (form === undefined ? url.searchParams.getAll('scope') : form.getAll('scope'))
      .flatMap((scope) => scope.split(' '))
      .filter((scope) => scope !== '');
    this.scopes.push(...scopes);
    const { tokenLife = 300 } = this.#options;
    const token = `token-${++this.#serial}`;
    this.#tokens.set(token, { until: Date.now() + tokenLife * 1000, scopes });
    const offline =
      url.searchParams.get('offline_token') === 'true' || form?.get('access_type') === 'offline';
    const answer = {
      [form === undefined ? 'token' : 'access_token']: token,
      expires_in: tokenLife,
      ...(offline && { refresh_token: `identity-of-${user}` }),
    };
    return send(response, 200, { 'content-type': 'application/json' }, JSON.stringify(answer));
  }

  #manifest(
    method: string,
    name: string,
    reference: string,
    request: IncomingMessage,
    response: ServerResponse,
    body: Buffer,
  ): ServerResponse {
    const { manifests } = this.repository(name);
    if (method === 'PUT') {
      const digest = this.putManifest(
        name,
        reference,
        request.headers['content-type'] ?? '',
        body.toString(),
      );
      const location = `/v2/${name}/manifests/${digest}`;
      return send(response, 201, { location, 'docker-content-digest': digest });
    }
    const found = manifests.get(reference);
    if (found === undefined) return error(response, 404, 'MANIFEST_UNKNOWN');
    const headers = {
      'content-type': found.type,
      'content-length': found.bytes.length,
      'docker-content-digest': digestOf(found.bytes),
    };
    return send(response, 200, headers, method === 'HEAD' ? undefined : found.bytes);
  }

  #tags(name: string, url: URL, response: ServerResponse): ServerResponse {
    if (!this.repositories.has(name)) return error(response, 404, 'NAME_UNKNOWN');
    const tags = [...this.repository(name).manifests.keys()]
      .filter((key) => !key.startsWith('sha256:'))
      .sort();
    const last = url.searchParams.get('last') ?? '';
    const size = Number(url.searchParams.get('n') ?? this.#options.pageSize ?? tags.length);
    const later = tags.filter((tag) => tag > last);
    const page = later.slice(0, Math.min(size, this.#options.pageSize ?? size));
    const more = later.length > page.length;
    const next = `</v2/${name}/tags/list?last=${page.at(-1) ?? ''}&n=${size}>; rel="next"`;
    return send(
      response,
      200,
      { 'content-type': 'application/json', ...(more && { link: next }) },
      JSON.stringify({ name, tags: page }),
    );
  }

  #blob(
    method: string,
    name: string,
    digest: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): ServerResponse {
    const bytes = this.repository(name).blobs.get(digest);
    if (bytes === undefined) return error(response, 404, 'BLOB_UNKNOWN');
    const headers = {
      'content-type': 'application/octet-stream',
      'docker-content-digest': digest,
      'accept-ranges': 'bytes',
    };
    const range = /^bytes=([0-9]+)-([0-9]*)$/.exec(request.headers.range ?? '');
    if (range === null || method === 'HEAD')
      return send(
        response,
        200,
        { ...headers, 'content-length': bytes.length },
        method === 'HEAD' ? undefined : bytes,
      );
    const start = Number(range[1]);
    const end = range[2] === '' ? bytes.length : Math.min(Number(range[2]) + 1, bytes.length);
    if (start >= bytes.length) return error(response, 416, 'RANGE_INVALID');
    return send(
      response,
      206,
      {
        ...headers,
        'content-length': end - start,
        'content-range': `bytes ${start}-${end - 1}/${bytes.length}`,
      },
      bytes.subarray(start, end),
    );
  }

  #upload(
    method: string,
    name: string,
    id: string,
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
    body: Buffer,
  ): ServerResponse {
    const digest = url.searchParams.get('digest');
    const { blobs } = this.repository(name);
    const finish = (bytes: Buffer): ServerResponse => {
      if (digest !== digestOf(bytes)) return error(response, 400, 'DIGEST_INVALID');
      blobs.set(digest, bytes);
      const location = `/v2/${name}/blobs/${digest}`;
      return send(response, 201, { location, 'docker-content-digest': digest });
    };
    if (method === 'POST') {
      const mount = url.searchParams.get('mount');
      const from = url.searchParams.get('from') ?? '';
      const other = mount === null ? undefined : this.repositories.get(from)?.blobs.get(mount);
      if (mount !== null && other !== undefined && this.#allowed(request, from, ['pull'])) {
        blobs.set(mount, other);
        const location = `/v2/${name}/blobs/${mount}`;
        return send(response, 201, { location, 'docker-content-digest': mount });
      }
      if (digest !== null) return finish(body);
      const fresh = `upload-${++this.#serial}`;
      this.#uploads.set(fresh, []);
      return this.#progress(response, 202, name, fresh);
    }
    const parts = this.#uploads.get(id);
    if (parts === undefined) return error(response, 404, 'BLOB_UPLOAD_UNKNOWN');
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const range = /^(?:bytes )?([0-9]+)-/.exec(request.headers['content-range'] ?? '');
    switch (method) {
      case 'GET':
        return this.#progress(response, 204, name, id);
      case 'DELETE':
        this.#uploads.delete(id);
        return send(response, 204, {});
      case 'PATCH':
        if (range !== null && Number(range[1]) !== length)
          return this.#progress(response, 416, name, id);
        parts.push(body);
        return this.#progress(response, 202, name, id);
      case 'PUT':
        this.#uploads.delete(id);
        return finish(Buffer.concat([...parts, body]));
      default:
        return error(response, 405, 'UNSUPPORTED');
    }
  }

  #progress(response: ServerResponse, status: number, name: string, id: string): ServerResponse {
    const length = this.#uploads.get(id)!.reduce((sum, part) => sum + part.length, 0);
    return send(response, status, {
      location: `/v2/${name}/blobs/uploads/${id}`,
      'docker-upload-uuid': id,
      range: `0-${Math.max(length - 1, 0)}`,
    });
  }
}

function send(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string | number>>,
  body?: Buffer | string,
): ServerResponse {
  response.writeHead(status, { 'docker-distribution-api-version': 'registry/2.0', ...headers });
  return response.end(body);
}

function error(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Readonly<Record<string, string>> = {},
): ServerResponse {
  const text = JSON.stringify({ errors: [{ code, message: code.toLowerCase() }] });
  return send(response, status, { 'content-type': 'application/json', ...headers }, text);
}
