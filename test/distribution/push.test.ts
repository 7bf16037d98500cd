import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import t, { type Test } from 'tap';
import type { ByteSource } from '../../src/base/byte-source.js';
import { sha256 } from '../../src/base/digest.js';
import { NO_CERTIFICATES } from './fixture.js';
import type { Credentials } from '../../src/distribution/credentials.js';
import { pushEndpoint } from '../../src/distribution/endpoints.js';
import { HttpClient } from '../../src/distribution/http.js';
import { pushImage, type PushedImage, type PushProgress } from '../../src/distribution/push.js';
import { NO_REGISTRIES_CONF } from '../../src/distribution/registries-conf.js';
import { RegistryClient } from '../../src/distribution/registry-client.js';
import { Secret } from '../../src/distribution/secret.js';
import { uploadBlob } from '../../src/distribution/upload.js';
import { loadImages } from '../../src/image/load-image.js';
import { manifestsOf, recordManifest } from '../../src/image/manifest-store.js';
import { RegistryDatabases } from '../../src/image/registry-databases.js';
import { parseReference } from '../../src/image/reference.js';
import {
  archiveOf,
  docker20,
  imageOf,
  imageOfTars,
  newStores,
  type Stores,
  type TestImage,
} from '../image/fixture.js';
import { isRoot, sourceOf, tarOf } from '../layer/fixture.js';
import { startMemoryRegistry, type MemoryRegistry } from '../support/memory-registry.js';

t.setTimeout(120_000);

const retry = { attempts: 3, delay: 1 };

interface Pusher {
  readonly stores: Stores;
  readonly push: (
    registry: MemoryRegistry,
    name: string,
    options?: { credentials?: Credentials; signal?: AbortSignal },
  ) => Promise<PushedImage>;
  readonly progress: PushProgress[];
}

/** A store of its own that has the image. */
async function pusherOf(t: Test, image: TestImage): Promise<Pusher> {
  const stores = await newStores(t);
  await loadImages(sourceOf(await archiveOf(docker20([{ image, tags: ['x:1'] }]))), stores);
  const http = new HttpClient({ environment: {} });
  t.teardown(() => http.close());
  const progress: PushProgress[] = [];
  return {
    stores,
    progress,
    push: (registry, name, { credentials, signal } = {}) => {
      const { tag = 'latest', ...reference } = parseReference(`${registry.host}/${name}`);
      const client = new RegistryClient(pushEndpoint(reference, NO_REGISTRIES_CONF), {
        http,
        credentials: () => Promise.resolve(credentials),
        certificates: () => NO_CERTIFICATES,
        actions: 'pull,push',
        retry,
        signal,
      });
      return pushImage(
        stores.images.get(image.id)!,
        { ...reference, tag },
        {
          client,
          stores,
          databases: new RegistryDatabases({
            root: stores.root,
            driverName: stores.driver.name,
            exclusively: (change) => stores.layers.exclusively(change),
          }),
          directory: `${stores.root}/plyfs/tmp`,
          record: true,
          onProgress: (event) => progress.push(event),
          retry,
          signal,
        },
      );
    },
  };
}

interface Manifest {
  readonly mediaType: string;
  readonly config: { readonly mediaType: string; readonly digest: string };
  readonly layers: readonly { mediaType: string; digest: string; size: number }[];
}

function manifestIn(registry: MemoryRegistry, repository: string, tag: string): Manifest {
  const { bytes } = registry.repository(repository).manifests.get(tag)!;
  return JSON.parse(bytes.toString()) as Manifest;
}

/** What has been sent of blobs: bytes of the requests' bodies. */
const sent = ({ requests }: MemoryRegistry): number =>
  requests.filter(({ url }) => url.includes('/blobs/')).reduce((sum, { bytes }) => sum + bytes, 0);

const dataOf = (request: IncomingMessage): boolean =>
  request.method === 'PATCH' || (request.method === 'PUT' && request.url!.includes('/uploads/'));

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const small = await imageOf([{ 'etc/a': 'one\n' }, { 'etc/b': 'two\n' }]);
  // Does not become smaller: more than one request's body, and than a socket's buffers.
  const noise = randomBytes(3 << 20).toString('latin1');
  const large = imageOfTars([await tarOf({ noise }), await tarOf({ 'etc/small': 'x' })]);

  await t.test('layers, then the configuration, then the manifest; nothing twice', async (t) => {
    const registry = await startMemoryRegistry(t);
    const { push, progress, stores } = await pusherOf(t, small);
    const pushed = await push(registry, 'team/app:1');
    const repository = registry.repository('team/app');
    const manifest = manifestIn(registry, 'team/app', '1');
    t.equal(pushed.digest, sha256(repository.manifests.get('1')!.bytes));
    t.equal(pushed.mediaType, 'application/vnd.docker.distribution.manifest.v2+json');
    t.equal(manifest.config.digest, small.id);
    t.equal(manifest.layers.length, 2);
    for (const { digest, size } of manifest.layers)
      t.equal(repository.blobs.get(digest)?.length, size);
    t.equal(registry.requests.at(-1)?.method, 'PUT', 'the manifest is the last');
    t.match(registry.requests.at(-1)?.url, /manifests\/1$/);

    const before = sent(registry);
    t.same(await push(registry, 'team/app:2'), pushed);
    t.equal(sent(registry), before, 'a second time nothing is sent');
    t.ok(progress.some(({ kind }) => kind === 'exists'));
    t.equal(manifestsOf(stores.root, small.id).length, 1);

    const other = await pusherOf(t, small);
    t.same(await other.push(registry, 'team/app:3'), pushed, 'compressed there, the same bytes');
    t.equal(sent(registry), before, 'and not sent');

    await push(registry, 'team/copy:1');
    t.ok(progress.some(({ kind }) => kind === 'mounted'));
    t.equal(sent(registry) - before, small.config.length, 'but for the configuration');
    for (const { digest } of manifest.layers)
      t.ok(registry.repository('team/copy').blobs.has(digest));
  });

  await t.test('an image leaves in the form that it came in', async (t) => {
    const registry = await startMemoryRegistry(t);
    const { push, stores } = await pusherOf(t, small);
    // As somebody else compressed them: zstd's are only named here.
    const blobs = small.layers.map((tar) => registry.putBlob('app', Buffer.concat([tar])));
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: small.id,
        size: small.config.length,
      },
      layers: blobs.map((blob) => ({
        mediaType: 'application/vnd.oci.image.layer.v1.tar',
        ...blob,
      })),
      annotations: { 'org.example.note': 'kept' },
    });
    recordManifest(stores.root, small.id, Buffer.from(manifest));
    const pushed = await push(registry, 'app:1');
    t.equal(pushed.digest, sha256(manifest), 'byte for byte, where its blobs are');
    t.equal(registry.repository('app').manifests.get('1')!.bytes.toString(), manifest);

    const elsewhere = await startMemoryRegistry(t);
    t.equal(
      (await push(elsewhere, 'app:1')).mediaType,
      'application/vnd.oci.image.manifest.v1+json',
    );
    t.match(manifestIn(elsewhere, 'app', '1'), {
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: small.id },
      layers: [
        { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' },
        { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' },
      ],
    });
  });

  await t.test('a large layer is a stream; broken off, the rest of it is sent', async (t) => {
    const registry = await startMemoryRegistry(t);
    const { push } = await pusherOf(t, large);
    let broken = 0;
    registry.onBody = (request, before) => {
      if (request.method !== 'PATCH' || broken >= 2 || before < 1 << 20) return;
      broken++;
      request.socket.destroy();
    };
    await push(registry, 'app:1');
    t.equal(broken, 2);
    const { layers } = manifestIn(registry, 'app', '1');
    t.equal(registry.repository('app').blobs.get(layers[0]!.digest)?.length, layers[0]!.size);
    const streams = registry.counted('PATCH', '/uploads/');
    t.equal(streams.length, 3);
    t.match(streams[2]?.headers['content-range'], /^[1-9][0-9]*-/, 'from where it broke off');
    t.ok(sent(registry) < layers[0]!.size + (3 << 20), 'not all of it once more');
  });

  await t.test('in chunks where a registry takes no larger body', async (t) => {
    const registry = await startMemoryRegistry(t, {
      intercept: (request, response) => {
        const length = Number(request.headers['content-length'] ?? 0);
        if (request.method !== 'PATCH' || length <= 4 << 20) return false;
        request.resume();
        response.writeHead(413).end();
        return true;
      },
    });
    const reference = parseReference(`${registry.host}/app`);
    const http = new HttpClient({ environment: {} });
    t.teardown(() => http.close());
    const client = new RegistryClient(pushEndpoint(reference, NO_REGISTRIES_CONF), {
      http,
      credentials: () => Promise.resolve(undefined),
      certificates: () => NO_CERTIFICATES,
      retry,
    });
    const bytes = randomBytes(9 << 20);
    const digest = sha256(bytes);
    const read = async function* (from: number): ByteSource {
      for (let at = from; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
    };
    await uploadBlob(client, { digest, size: bytes.length, read }, { chunk: 4 << 20, retry });
    t.ok(registry.repository('app').blobs.get(digest)?.equals(bytes));
    t.same(
      registry.counted('PATCH', '/uploads/').map(({ headers }) => headers['content-range']),
      ['0-9437183', '0-4194303', '4194304-8388607', '8388608-9437183'],
    );
  });

  await t.test(
    'a session that was forgotten begins anew; one that ended is not repeated',
    async (t) => {
      const registry = await startMemoryRegistry(t);
      const { push } = await pusherOf(t, large);
      let forgotten = false;
      let lost = false;
      registry.intercept = (request, response) => {
        if (request.method === 'PATCH' && !forgotten) {
          forgotten = true;
          request.resume();
          response.writeHead(404).end('{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}');
          return true;
        }
        // It is stored, and the answer does not arrive.
        if (forgotten && !lost && request.method === 'PUT' && !request.headers['content-length']) {
          lost = true;
          response.end = (() => response.destroy()) as never;
        }
        return false;
      };
      await push(registry, 'app:1');
      t.ok(forgotten);
      t.ok(registry.repository('app').manifests.has('1'));
    },
  );

  await t.test('another host gets the data, and nobody’s name', async (t) => {
    const users = { me: 'hush' };
    const registry = await startMemoryRegistry(t, { users });
    const storage = await startMemoryRegistry(t);
    registry.intercept = (request, response) => {
      if (request.method !== 'POST') return false;
      const location = `${storage.url.replace('127.0.0.1', 'localhost')}/elsewhere?signed=1`;
      response.writeHead(202, { location }).end();
      return true;
    };
    storage.intercept = async (request, response) => {
      const body: Buffer[] = [];
      for await (const piece of request as AsyncIterable<Buffer>) body.push(piece);
      registry.putBlob('app', Buffer.concat(body));
      response.writeHead(201, { location: '/x' }).end();
      return true;
    };
    const { push } = await pusherOf(t, small);
    const credentials = { kind: 'password', username: 'me', password: new Secret('hush') } as const;
    await push(registry, 'app:1', { credentials });
    t.equal(storage.requests.length, 3, 'two layers and the configuration');
    for (const { headers, url } of storage.requests) {
      t.equal(headers.authorization, undefined);
      t.match(url, /signed=1&digest=sha256/, 'what the address had stays');
    }
  });

  await t.test('with a name and a password, or a token for them', async (t) => {
    for (const authorization of ['basic', 'token'] as const) {
      const registry = await startMemoryRegistry(t, { users: { me: 'hush' }, authorization });
      const { push } = await pusherOf(t, small);
      await t.rejects(push(registry, 'app:1'), { code: 'registry-unauthorized' });
      const wrong = { kind: 'password', username: 'me', password: new Secret('wrong') } as const;
      await t.rejects(push(registry, 'app:1', { credentials: wrong }), {
        code: 'registry-unauthorized',
      });
      const right = { ...wrong, password: new Secret('hush') };
      await push(registry, 'app:1', { credentials: right });
      await push(registry, 'copy:1', { credentials: right });
      t.ok(registry.repository('copy').manifests.has('1'));
      if (authorization !== 'token') continue;
      t.ok(registry.scopes.includes('repository:app:pull,push'));
      t.equal(registry.counted('POST', 'mount=').length, 2, 'mounted by a token for both');
    }
  });

  await t.test('what a registry may not do', async (t) => {
    const cases: Record<
      string,
      { intercept: MemoryRegistry['intercept']; code: string; message?: RegExp }
    > = {
      'stores a blob under another digest': {
        intercept: (request, response) => {
          if (!dataOf(request)) return false;
          request.resume();
          const digest = sha256('other');
          response.writeHead(201, { location: '/x', 'docker-content-digest': digest }).end();
          return true;
        },
        code: 'blob-digest-mismatch',
      },
      'stores a manifest under another digest': {
        intercept: (request, response) => {
          if (request.method !== 'PUT' || !request.url!.includes('/manifests/')) return false;
          request.resume();
          response.writeHead(201, { 'docker-content-digest': sha256('other') }).end();
          return true;
        },
        code: 'blob-digest-mismatch',
      },
      'takes a blob and does not have it': {
        intercept: (request, response) => {
          if (!dataOf(request)) return false;
          request.resume();
          response.writeHead(201, { location: '/x' }).end();
          return true;
        },
        code: 'registry-invalid',
        message: /does not have it/,
      },
      'says nothing about where to': {
        intercept: (request, response) => {
          if (request.method !== 'POST') return false;
          response.writeHead(202).end();
          return true;
        },
        code: 'registry-invalid',
      },
      'leads to plain HTTP elsewhere, or to a file': {
        intercept: (request, response) => {
          if (request.method !== 'POST') return false;
          response.writeHead(202, { location: 'http://storage.example/x' }).end();
          return true;
        },
        code: 'registry-untrusted',
      },
      'redirects in a circle': {
        intercept: (request, response) => {
          if (request.method !== 'HEAD') return false;
          response.writeHead(307, { location: request.url }).end();
          return true;
        },
        code: 'registry-invalid',
      },
      'wants to know who asks, for ever': {
        intercept: (request, response) => {
          if (request.url === '/v2/') return false;
          request.resume();
          response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
          return true;
        },
        code: 'registry-unauthorized',
      },
      'is to be left alone for a year': {
        intercept: (request, response) => {
          if (request.url === '/v2/') return false;
          request.resume();
          response.writeHead(429, { 'retry-after': String(365 * 24 * 3600) }).end();
          return true;
        },
        code: 'registry-rate-limited',
        message: /try again at 20/,
      },
      'fails again and again': {
        intercept: (request, response) => {
          if (!dataOf(request)) return false;
          request.resume();
          response.writeHead(503).end();
          return true;
        },
        code: 'registry-failed',
      },
    };
    const { push } = await pusherOf(t, small);
    for (const [what, { intercept, code, message }] of Object.entries(cases)) {
      const registry = await startMemoryRegistry(t, { intercept: intercept! });
      const credentials = { kind: 'password', username: 'a', password: new Secret('b') } as const;
      await t.rejects(
        push(registry, 'app:1', { credentials }),
        { code, ...(message && { message }) },
        what,
      );
      t.notOk(registry.repositories.get('app')?.manifests.has('1'), `${what}: no image is there`);
      t.ok(registry.requests.length < 30, `${what}: it is given up`);
    }
  });

  await t.test('stopped in the middle nothing is left open', async (t) => {
    const registry = await startMemoryRegistry(t);
    const { push, stores } = await pusherOf(t, large);
    const stop = new AbortController();
    registry.onBody = ({ method }) => {
      if (method === 'PATCH') stop.abort();
    };
    await t.rejects(push(registry, 'app:1', { signal: stop.signal }), { name: 'AbortError' });
    registry.onBody = undefined;
    await push(registry, 'app:1');
    t.equal(
      manifestIn(registry, 'app', '1').config.digest,
      stores.images.list()[0]!.id,
      'and it can be done again',
    );
  });
}
