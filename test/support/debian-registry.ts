/**
 * Debian's docker-registry on a port of loopback that nobody has: open, with htpasswd, or with a
 * token service of the test's own; with HTTP, or TLS by an authority of the test's own. It ends, by
 * its own process id, with the test, and so do its files.
 */
import { spawn } from 'node:child_process';
import { createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';
import { says, succeed } from './command.js';

export const REGISTRY_USER = 'tester';
export const REGISTRY_PASSWORD = 'secret-of-tester';
/** htpasswd -nbB: the registry takes bcrypt alone. */
const HTPASSWD = `${REGISTRY_USER}:$2y$04$mNh9INfZwg6Hau.hFGY6i.eyMHuquE/ba3UW3HQUEoRhxLPbaM5l2\n`;
const SERVICE = 'debian-registry';
const ISSUER = 'the test';

export interface DebianRegistry {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** Of the authority, where it speaks TLS. */
  readonly authority?: string;
  /** Lines that it logged. */
  readonly log: () => string;
}

export interface DebianRegistryOptions {
  /** Existing, for all that it keeps. */
  readonly base: string;
  readonly authorization?: 'none' | 'htpasswd' | 'token';
  readonly tls?: boolean;
}

export async function startDebianRegistry(
  t: Test,
  { base, authorization = 'none', tls = false }: DebianRegistryOptions,
): Promise<DebianRegistry> {
  await mkdir(join(base, 'storage'), { recursive: true });
  const authority = tls || authorization === 'token' ? await makeCertificate(base) : undefined;
  const configuration = {
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(base, 'storage') }, delete: { enabled: true } },
    http: {
      addr: '127.0.0.1:0',
      ...(tls && { tls: { certificate: join(base, 'tls.crt'), key: join(base, 'tls.key') } }),
    },
    ...(await authorizationOf(t, base, authorization)),
  };
  // JSON is YAML.
  await writeFile(join(base, 'config.yml'), JSON.stringify(configuration));
  const child = spawn('docker-registry', ['serve', join(base, 'config.yml')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  let log = '';
  child.stderr.on('data', (bytes: Buffer) => (log += bytes.toString()));
  await says(child, child.stderr, 'listening on');
  const port = /listening on 127\.0\.0\.1:([0-9]+)/.exec(log)?.[1];
  if (port === undefined) throw new Error(`docker-registry names no port: ${log}`);
  return {
    host: `127.0.0.1:${port}`,
    log: () => log,
    ...(tls && authority !== undefined && { authority }),
  };
}

/** `tls.crt` and `tls.key`, signed by themselves; returns the certificate. */
async function makeCertificate(base: string): Promise<string> {
  await succeed(
    [
      ...['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2'],
      ...['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
      ...['-keyout', 'tls.key', '-out', 'tls.crt'],
    ],
    { cwd: base },
  );
  return readFile(join(base, 'tls.crt'), 'utf8');
}

async function authorizationOf(
  t: Test,
  base: string,
  kind: 'none' | 'htpasswd' | 'token',
): Promise<object> {
  switch (kind) {
    case 'none':
      return {};
    case 'htpasswd':
      await writeFile(join(base, 'htpasswd'), HTPASSWD);
      return { auth: { htpasswd: { realm: 'debian', path: join(base, 'htpasswd') } } };
    case 'token': {
      const realm = await startTokenService(t, base);
      return {
        auth: {
          token: { realm, service: SERVICE, issuer: ISSUER, rootcertbundle: join(base, 'tls.crt') },
        },
      };
    }
  }
}

/** distribution, docs/spec/auth/token.md and jwt.md. Returns its URL. */
async function startTokenService(t: Test, base: string): Promise<string> {
  const key = createPrivateKey(await readFile(join(base, 'tls.key')));
  const certificate = new X509Certificate(await readFile(join(base, 'tls.crt')));
  const encoded = (value: object): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  const tokenFor = (scopes: readonly string[]): string => {
    const now = Math.floor(Date.now() / 1000);
    const header = { typ: 'JWT', alg: 'RS256', x5c: [certificate.raw.toString('base64')] };
    const claims = {
      iss: ISSUER,
      sub: REGISTRY_USER,
      aud: SERVICE,
      ...{ iat: now, nbf: now - 10, exp: now + 300, jti: String(now) },
      access: scopes.map((scope) => {
        const [type, name, actions = ''] = scope.split(':');
        return { type, name, actions: actions.split(',') };
      }),
    };
    const signed = `${encoded(header)}.${encoded(claims)}`;
    return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://token');
    if (!isTester(request)) {
      response.writeHead(401).end('{}');
      return;
    }
    const scopes = url.searchParams.getAll('scope').flatMap((scope) => scope.split(' '));
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ token: tokenFor(scopes), expires_in: 300 }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
}

function isTester(request: IncomingMessage): boolean {
  const basic = Buffer.from(`${REGISTRY_USER}:${REGISTRY_PASSWORD}`).toString('base64');
  return request.headers.authorization === `Basic ${basic}`;
}
