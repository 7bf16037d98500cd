/**
 * Who is asking: what a registry wants to know before it answers (RFC 9110, 11.6; distribution,
 * spec/auth/token.md and oauth.md).
 *
 * A registry says by `WWW-Authenticate` that it wants a name and a password with each request
 * (Basic), or a token that another service gives for them (Bearer). Tokens are kept by scope until
 * they expire. Nobody's credentials are looked up before they are asked for, and they go to the
 * registry, or to the token service that it names, and nowhere else.
 */
import { parseJson } from '../base/bounded-json.js';
import { PlyfsError } from '../base/error.js';
import type { Credentials } from './credentials.js';
import { assertAllowed, type HttpClient, type HttpResponse, type Trust } from './http.js';
import { Secret } from './secret.js';

const CLIENT_ID = 'plyfs';
/** Of a `WWW-Authenticate` header, and of a token service's answer. */
const CHALLENGE_MAX = 8192;
const TOKEN_ANSWER_MAX = 1 << 20;
/**
 * What a token lives at least (distribution, registry/client/auth/session.go,
 * minimumTokenLifetime).
 */
const LIFETIME_MIN = 60;
/** Milliseconds. */
const TOKEN_TIME = 60_000;
const BOUNDS = { depth: 16, values: 10_000 };

export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

/**
 * `Bearer realm="…",service="…",scope="…"`, several of which one header may have. What does not fit
 * the grammar ends it.
 */
export function parseChallenges(headers: readonly string[]): Challenge[] {
  const challenges: Challenge[] = [];
  for (const header of headers) {
    const text = header.slice(0, CHALLENGE_MAX);
    const token = /[ \t,]*([\w!#$%&'*+.^`|~-]+)([ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*)))?/y;
    let current: { scheme: string; parameters: Map<string, string> } | undefined;
    for (let match = token.exec(text); match !== null; match = token.exec(text)) {
      const [, word, assignment, quoted, plain] = match;
      if (assignment === undefined) {
        current = { scheme: word!.toLowerCase(), parameters: new Map() };
        challenges.push(current);
      } else
        current?.parameters.set(
          word!.toLowerCase(),
          quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '',
        );
    }
  }
  return challenges;
}

interface Token {
  readonly header: Secret;
  /** Milliseconds, as Date.now(). */
  readonly until: number;
}

export interface AuthorizationOptions {
  readonly http: HttpClient;
  readonly trust: Trust;
  /** `docker.io`: for messages. */
  readonly registry: string;
  readonly credentials: () => Promise<Credentials | undefined>;
  readonly signal?: AbortSignal | undefined;
}

export class Authorization {
  readonly #options: AuthorizationOptions;
  #challenge: Challenge | undefined;
  #credentials: Promise<Credentials | undefined> | undefined;
  readonly #tokens = new Map<string, Promise<Token>>();

  constructor(options: AuthorizationOptions) {
    this.#options = options;
  }

  /** For a request of these scopes, as `repository:library/debian:pull`. */
  async header(scopes: readonly string[]): Promise<Secret | undefined> {
    if (this.#challenge === undefined) return undefined;
    if (this.#challenge.scheme === 'basic') return this.#basic();
    const key = scopes.join(' ');
    const known = await this.#tokens.get(key)?.catch(() => undefined);
    if (known !== undefined && known.until > Date.now()) return known.header;
    const token = fetchToken(this.#challenge, scopes, await this.#theirs(), this.#options);
    this.#tokens.set(key, token);
    return (await token).header;
  }

  /**
   * What a 401 says. Whether another try makes sense: it does once, and when what was sent was a
   * token that may have expired. Throws `registry-unauthorized`, `registry-invalid`.
   */
  challenged(response: HttpResponse, scopes: readonly string[], sent: boolean): void {
    const challenges = parseChallenges(response.headers('www-authenticate'));
    const challenge =
      challenges.find(({ scheme }) => scheme === 'bearer') ??
      challenges.find(({ scheme }) => scheme === 'basic');
    if (challenge === undefined)
      throw new PlyfsError(
        'registry-invalid',
        `${this.#options.registry} wants to know who asks, in a way that is not known here (neither Basic nor Bearer).`,
      );
    if (sent && challenge.scheme === 'basic')
      throw unauthorized(this.#options.registry, 'refuses this name and password');
    this.#challenge = challenge;
    this.#tokens.delete(scopes.join(' '));
  }

  async #basic(): Promise<Secret> {
    const credentials = await this.#theirs();
    const { registry } = this.#options;
    if (credentials === undefined)
      throw unauthorized(registry, 'wants to know who asks, and nobody is logged in there');
    if (credentials.kind !== 'password') throw needsPassword(registry);
    return basicHeader(credentials);
  }

  #theirs(): Promise<Credentials | undefined> {
    return (this.#credentials ??= this.#options.credentials());
  }
}

function basicHeader({ username, password }: Credentials & { kind: 'password' }): Secret {
  const pair = Buffer.from(`${username}:${password.reveal()}`);
  return new Secret(`Basic ${pair.toString('base64')}`);
}

function needsPassword(registry: string): PlyfsError {
  return unauthorized(registry, 'wants a name and a password, and a token is all there is');
}

export function unauthorized(registry: string, what: string): PlyfsError {
  return new PlyfsError(
    'registry-unauthorized',
    `${registry} ${what}: log in with \`ply login ${registry}\`.`,
  );
}

interface TokenAnswer {
  readonly token: Secret;
  readonly seconds: number;
  readonly refresh: Secret | undefined;
}

async function fetchToken(
  challenge: Challenge,
  scopes: readonly string[],
  credentials: Credentials | undefined,
  options: AuthorizationOptions,
): Promise<Token> {
  if (credentials?.kind === 'registry-token')
    return { header: new Secret(`Bearer ${credentials.token.reveal()}`), until: Infinity };
  const { token, seconds } = await askForToken(challenge, scopes, credentials, options);
  // Some time before its end, for it has to arrive as well.
  const until = Date.now() + Math.max(seconds, LIFETIME_MIN) * 900;
  return { header: new Secret(`Bearer ${token.reveal()}`), until };
}

/**
 * By GET, with name and password if there are any; by POST (OAuth 2) for a refresh token, and where
 * the service knows no GET. Throws `registry-unauthorized`, `registry-invalid`.
 */
async function askForToken(
  challenge: Challenge,
  scopes: readonly string[],
  credentials: Exclude<Credentials, { kind: 'registry-token' }> | undefined,
  options: AuthorizationOptions & { readonly offline?: boolean },
): Promise<TokenAnswer> {
  const { http, trust, registry, signal, offline = false } = options;
  const realm = challenge.parameters.get('realm') ?? '';
  if (!URL.canParse(realm))
    throw new PlyfsError('registry-invalid', `${registry} names no service that gives tokens.`);
  const url = new URL(realm);
  assertAllowed(url, trust);
  const service = challenge.parameters.get('service');

  const get = (): Promise<HttpResponse> => {
    const asked = new URL(url);
    if (service !== undefined) asked.searchParams.set('service', service);
    for (const scope of scopes) asked.searchParams.append('scope', scope);
    if (offline) asked.searchParams.set('offline_token', 'true');
    if (offline) asked.searchParams.set('client_id', CLIENT_ID);
    if (credentials !== undefined) asked.searchParams.set('account', credentials.username);
    const headers =
      credentials?.kind === 'password' ? { authorization: basicHeader(credentials).reveal() } : {};
    return http.request({ method: 'GET', url: asked, headers, trust, signal, within: TOKEN_TIME });
  };
  const post = (login: NonNullable<typeof credentials>): Promise<HttpResponse> => {
    const form = new URLSearchParams({ client_id: CLIENT_ID, scope: scopes.join(' ') });
    if (service !== undefined) form.set('service', service);
    if (offline) form.set('access_type', 'offline');
    if (login.kind === 'identity-token') {
      form.set('grant_type', 'refresh_token');
      form.set('refresh_token', login.token.reveal());
    } else {
      form.set('grant_type', 'password');
      form.set('username', login.username);
      form.set('password', login.password.reveal());
    }
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return http.request({
      method: 'POST',
      url: new URL(url),
      headers,
      body: form.toString(),
      trust,
      signal,
      within: TOKEN_TIME,
    });
  };

  let response = credentials?.kind === 'identity-token' ? await post(credentials) : await get();
  if (credentials?.kind === 'password' && [404, 405].includes(response.status)) {
    response.discard();
    response = await post(credentials);
  }
  return tokenIn(response, url.host, registry, credentials);
}

async function tokenIn(
  response: HttpResponse,
  host: string,
  registry: string,
  credentials: Credentials | undefined,
): Promise<TokenAnswer> {
  const { status } = response;
  if (status !== 200) {
    response.discard();
    if (status === 400 || status === 401 || status === 403)
      throw unauthorized(
        registry,
        credentials === undefined
          ? `lets nobody in who is not logged in (${host} gives no token, status ${status})`
          : `does not let in who is logged in there (${host} gives no token, status ${status})`,
      );
    throw new PlyfsError(
      status >= 500 || status === 429 || status === 408 ? 'registry-failed' : 'registry-invalid',
      `${host}, which gives tokens for ${registry}, answers with status ${status}.`,
    );
  }
  const bad = (problem: string): PlyfsError =>
    new PlyfsError('registry-invalid', `${host}, which gives tokens for ${registry}, ${problem}.`);
  const bytes = await response.read(TOKEN_ANSWER_MAX);
  let answer: unknown;
  try {
    answer = bytes && parseJson(bytes, BOUNDS);
  } catch {
    answer = undefined;
  }
  if (typeof answer !== 'object' || answer === null) throw bad('answers with something else');
  const fields = answer as Readonly<Record<string, unknown>>;
  const text = (name: string): string | undefined => {
    const value = fields[name];
    // What a header can hold.
    return typeof value === 'string' && /^[\x21-\x7e]+$/.test(value) ? value : undefined;
  };
  const token = text('token') ?? text('access_token');
  if (token === undefined) throw bad('gives none');
  const seconds = fields['expires_in'];
  const refresh = text('refresh_token');
  return {
    token: new Secret(token),
    seconds: typeof seconds === 'number' && seconds >= 0 ? seconds : LIFETIME_MIN,
    refresh: refresh === undefined ? undefined : new Secret(refresh),
  };
}

/**
 * Whether a registry knows these credentials: returns the refresh token that its token service
 * gives for a password, if it does. Throws `registry-unauthorized`.
 */
export async function login(
  challenge: Challenge | undefined,
  credentials: Exclude<Credentials, { readonly kind: 'registry-token' }>,
  options: Omit<AuthorizationOptions, 'credentials'>,
): Promise<{ identityToken: Secret | undefined; header: Secret | undefined }> {
  if (challenge === undefined) return { identityToken: undefined, header: undefined };
  if (challenge.scheme === 'basic') {
    if (credentials.kind !== 'password') throw needsPassword(options.registry);
    return { identityToken: undefined, header: basicHeader(credentials) };
  }
  const { token, refresh } = await askForToken(challenge, [], credentials, {
    ...options,
    credentials: () => Promise.resolve(credentials),
    offline: true,
  });
  return { identityToken: refresh, header: new Secret(`Bearer ${token.reveal()}`) };
}
