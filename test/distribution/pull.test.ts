/**
 * Images pulled from a registry in the test's own process: what comes, what is not asked for again,
 * and what a registry that lies, breaks off or goes on for ever does not get.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { hexOf, sha256, type Digest } from '../../src/base/digest.js';
import { HttpClient, type HttpTimes } from '../../src/distribution/http.js';
import { pullImage, type PulledImage } from '../../src/distribution/pull-image.js';
import { RegistryClient } from '../../src/distribution/registry-client.js';
import { Secret } from '../../src/distribution/secret.js';
import type { Credentials } from '../../src/distribution/credentials.js';
import { MediaType } from '../../src/image/manifest.js';
import { parseReference } from '../../src/image/reference.js';
import { RegistryDatabases } from '../../src/image/registry-databases.js';
import { contentOf, isRoot, sourceOf } from '../layer/fixture.js';
import {
  imageOf,
  imageOfTars,
  newStores,
  whatIsThere,
  type Stores,
  type TestImage,
} from '../image/fixture.js';
import { compress } from '../../src/archive/compression.js';
import { startMemoryRegistry, type MemoryRegistry } from '../support/memory-registry.js';

t.setTimeout(120_000);

const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
const REPOSITORY = 'team/x';

interface Served {
  readonly image: TestImage;
  readonly manifest: Digest;
  readonly blobs: readonly Buffer[];
}

/** Puts an image into the registry, its layers as they are in `blobs`. */
function serve(
  registry: MemoryRegistry,
  image: TestImage,
  {
    tag = '1',
    blobs = image.layers.map((layer) => gzipSync(layer)),
    change = (manifest) => manifest,
  }: {
    readonly tag?: string;
    readonly blobs?: readonly Buffer[];
    readonly change?: (manifest: object) => object;
  } = {},
): Served {
  const put = (bytes: Buffer, mediaType: string): object => ({
    mediaType,
    ...registry.putBlob(REPOSITORY, bytes),
  });
  const manifest = change({
    schemaVersion: 2,
    mediaType: MediaType.ociManifest,
    config: put(image.config, MediaType.ociConfig),
    layers: blobs.map((blob) => put(blob, LAYER)),
  });
  const digest = registry.putManifest(REPOSITORY, tag, MediaType.ociManifest, manifest);
  return { image, manifest: digest as Digest, blobs };
}

interface PullSettings {
  readonly tag?: string;
  readonly credentials?: Credentials;
  readonly times?: HttpTimes;
  readonly signal?: AbortSignal;
}

async function pull(
  stores: Stores,
  { host }: MemoryRegistry,
  { tag = '1', credentials, times, signal }: PullSettings = {},
): Promise<PulledImage> {
  const http = new HttpClient({ environment: {}, ...(times && { times }) });
  const retry = { attempts: 3, delay: 1 };
  const scope = `${host}/${REPOSITORY}`;
  const client = new RegistryClient(
    {
      host,
      repository: REPOSITORY,
      scope,
      configHost: host,
      verify: true,
      http: true,
      mirror: false,
    },
    {
      http,
      credentials: () => Promise.resolve(credentials),
      certificates: () => ({ authorities: [], clients: [] }),
      retry,
      signal,
    },
  );
  const reference = parseReference(`${scope}${tag.includes(':') ? '@' : ':'}${tag}`);
  try {
    return await pullImage(reference, [client], stores, databasesOf(stores), { retry, signal });
  } finally {
    await http.close();
  }
}

function databasesOf({ root, driver, layers }: Stores): RegistryDatabases {
  return new RegistryDatabases({
    root,
    driverName: driver.name,
    exclusively: (change) => layers.exclusively(change),
  });
}

/** Blobs of which parts lie in the root, and how much. */
function partsOf({ root }: Stores): Record<string, number> {
  const directory = join(root, 'plyfs/tmp/blobs');
  const names = existsSync(directory) ? readdirSync(directory) : [];
  return Object.fromEntries(
    names.map((name) => [`sha256:${name}`, readFileSync(join(directory, name)).length]),
  );
}

const isBlob = ({ url = '' }: IncomingMessage, blob: Buffer): boolean =>
  url.endsWith(`/blobs/${sha256(blob)}`);

/** Answers requests for this blob instead of the registry. */
function insteadOf(
  blob: Buffer,
  answer: (request: IncomingMessage, response: ServerResponse) => unknown,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  return (request, response) => isBlob(request, blob) && answer(request, response) !== false;
}

/** Text that does not get much smaller by compression. */
const random = (characters: number, seed: number): string => {
  let state = seed;
  const next = (): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 16;
  return Array.from({ length: characters }, () => String.fromCharCode(32 + (next() % 96))).join('');
};

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const base = { 'etc/issue': 'hello\n', 'usr/large': random(300_000, 1) };
  const image = await imageOf([base, { 'etc/motd': 'above\n' }]);

  await t.test('an image comes whole, with its names and what Docker keeps of it', async (t) => {
    const stores = await newStores(t);
    const registry = await startMemoryRegistry(t);
    const served = serve(registry, image);
    const pulled = await pull(stores, registry);
    t.match(pulled, { digest: served.manifest, upToDate: false });
    t.equal(pulled.image.id, image.id);
    const name = `${registry.host}/${REPOSITORY}`;
    t.same(whatIsThere(stores).names, [
      `${name}:1 ${image.id}`,
      `${name}@${served.manifest} ${image.id}`,
    ]);
    t.same(partsOf(stores), {});
    const databases = databasesOf(stores);
    for (const [index, blob] of served.blobs.entries()) {
      t.equal(databases.diffIdOf(sha256(blob)), image.diffIds[index]);
      t.match(databases.originsOf(image.diffIds[index]!), [
        { digest: sha256(blob), sourceRepository: name, hmac: '' },
      ]);
    }

    registry.requests.length = 0;
    t.match(await pull(stores, registry), { upToDate: true, fetched: 0 });
    t.same(registry.counted('GET', '/blobs/'), [], 'nothing is fetched twice');
    t.match(await pull(stores, registry, { tag: served.manifest }), { image: { id: image.id } });

    registry.requests.length = 0;
    const above = serve(registry, await imageOf([base, { 'etc/motd': 'other\n' }]), { tag: '2' });
    await pull(stores, registry, { tag: '2' });
    t.same(
      registry.counted('GET', '/blobs/').map(({ url }) => url.replace(/.*\//, '')),
      [above.image.id, sha256(above.blobs[1]!)],
      'a layer that is there is not fetched',
    );
  });

  await t.test('layers in every form, and one twice', async (t) => {
    const stores = await newStores(t);
    const registry = await startMemoryRegistry(t);
    const [one, two] = image.layers as [Buffer, Buffer];
    const twice = imageOfTars([one, two, one, two]);
    const zstd = await contentOf(compress(sourceOf(two), 'zstd'));
    serve(registry, twice, { blobs: [one, zstd, gzipSync(one), zstd] });
    t.equal((await pull(stores, registry)).image.id, twice.id);
    t.equal(registry.counted('GET', sha256(zstd)).length, 1);
    t.same(partsOf(stores), {});
  });

  await t.test('a connection that breaks is taken up where it broke', async (t) => {
    const stores = await newStores(t);
    const registry = await startMemoryRegistry(t);
    const [blob] = serve(registry, image).blobs as [Buffer];
    const half = blob.length >> 1;
    const ranges: (string | undefined)[] = [];
    registry.intercept = insteadOf(blob, ({ headers }, response) => {
      ranges.push(headers.range);
      if (headers.range !== undefined) return false;
      response.writeHead(200, { 'content-length': blob.length });
      response.write(blob.subarray(0, half), () => response.destroy());
      return true;
    });
    t.equal((await pull(stores, registry)).image.id, image.id);
    t.equal(ranges.length, 2);
    t.match(ranges[1], /^bytes=[1-9][0-9]*-$/);
  });

  await t.test('what an earlier pull left is verified, and used', async (t) => {
    const registry = await startMemoryRegistry(t);
    const { blobs } = serve(registry, image);
    const [blob] = blobs as [Buffer];
    const begin = async (content: Buffer): Promise<Stores> => {
      const stores = await newStores(t);
      await pull(stores, registry, { tag: 'none' }).catch(() => undefined);
      const directory = join(stores.root, 'plyfs/tmp/blobs');
      const { mkdirSync } = await import('node:fs');
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, hexOf(sha256(blob))), content);
      registry.requests.length = 0;
      return stores;
    };
    const ranges = (): (string | undefined)[] =>
      registry.counted('GET', sha256(blob)).map(({ headers }) => headers.range);

    let stores = await begin(blob.subarray(0, 1000));
    t.equal((await pull(stores, registry)).image.id, image.id);
    t.same(ranges(), ['bytes=1000-']);

    stores = await begin(blob);
    t.equal((await pull(stores, registry)).image.id, image.id);
    t.same(ranges(), [], 'all of it was there');

    stores = await begin(Buffer.alloc(1000, 'x'));
    t.equal((await pull(stores, registry)).image.id, image.id);
    t.same(ranges(), ['bytes=1000-', undefined], 'what is another beginning is fetched anew');

    stores = await begin(Buffer.alloc(blob.length, 'x'));
    t.equal((await pull(stores, registry)).image.id, image.id);
    t.same(partsOf(stores), {});
  });

  await t.test('what a registry says is not believed', async (t) => {
    const changed = (blob: Buffer): Buffer => {
      const other = Buffer.from(blob);
      other[other.length - 3]! ^= 1;
      return other;
    };
    interface Case {
      readonly code: string;
      readonly message?: RegExp;
      readonly kept?: boolean;
      readonly lie: (registry: MemoryRegistry, blob: Buffer) => void;
    }
    const send = (
      registry: MemoryRegistry,
      blob: Buffer,
      body: Buffer,
      length = body.length,
    ): void => {
      registry.intercept = insteadOf(blob, (_, response) => {
        response.writeHead(200, { 'content-length': length });
        response.end(body);
      });
    };
    const manifest = (registry: MemoryRegistry, body: Buffer | string, type: string): void => {
      registry.intercept = ({ url = '', method }, response) => {
        if (!url.includes('/manifests/') || method !== 'GET') return false;
        response.writeHead(200, { 'content-type': type });
        response.end(body);
        return true;
      };
    };
    const cases: Record<string, Case> = {
      'a wrong digest': {
        code: 'blob-digest-mismatch',
        lie: (registry, blob) => send(registry, blob, changed(blob)),
      },
      'the right digest with a wrong size': {
        code: 'blob-size-mismatch',
        lie: (registry) => {
          serve(registry, image, {
            change: (it) => {
              const { layers, ...others } = it as { layers: { size: number }[] };
              return { ...others, layers: layers.map((one) => ({ ...one, size: one.size + 1 })) };
            },
          });
        },
      },
      'a length that is not the descriptor’s': {
        code: 'blob-size-mismatch',
        message: /is said to have/,
        lie: (registry, blob) => send(registry, blob, Buffer.concat([blob, blob])),
      },
      'a blob that is always cut off': {
        code: 'registry-unreachable',
        kept: true,
        lie: (registry, blob) => {
          registry.intercept = insteadOf(blob, (_, response) => {
            response.writeHead(200, { 'content-length': blob.length });
            response.write(blob.subarray(0, 100), () => response.destroy());
          });
        },
      },
      'a blob without an end': {
        code: 'blob-size-mismatch',
        lie: (registry, blob) => {
          registry.intercept = insteadOf(blob, (_, response) => {
            response.writeHead(200);
            const go = (): void => {
              while (!response.destroyed && response.write(Buffer.alloc(65536)));
            };
            response.on('drain', go);
            go();
          });
        },
      },
      'a redirect to itself': {
        code: 'registry-invalid',
        message: /redirects more than 10 times/,
        lie: (registry, blob) => {
          registry.intercept = insteadOf(blob, ({ url }, response) => {
            response.writeHead(307, { location: url! });
            response.end();
          });
        },
      },
      'a redirect to where HTTP is not spoken': {
        code: 'registry-untrusted',
        lie: (registry, blob) => {
          registry.intercept = insteadOf(blob, (_, response) => {
            response.writeHead(307, { location: 'ftp://127.0.0.1/x' });
            response.end();
          });
        },
      },
      'a manifest of 100 MB': {
        code: 'manifest-too-large',
        lie: (registry) => manifest(registry, Buffer.alloc(100 << 20, ' '), MediaType.ociManifest),
      },
      'another manifest than its digest says': {
        code: 'blob-digest-mismatch',
        lie: (registry) => manifest(registry, '{"schemaVersion":2}', MediaType.ociManifest),
      },
      'an index that holds itself': {
        code: 'blob-digest-mismatch',
        lie: (registry) => {
          const digest = sha256('itself');
          const entry = { mediaType: MediaType.ociIndex, digest, size: 0 };
          const itself = JSON.stringify({ schemaVersion: 2, manifests: [entry] });
          registry.putManifest(REPOSITORY, '1', MediaType.ociIndex, itself.replace('0', '9'));
          entry.size = itself.length;
          registry.putManifest(REPOSITORY, '1', MediaType.ociIndex, {
            schemaVersion: 2,
            manifests: [entry],
          });
          const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
          registry
            .repository(REPOSITORY)
            .manifests.set(digest, { type: MediaType.ociIndex, bytes });
          entry.size = bytes.length;
          registry.putManifest(REPOSITORY, '1', MediaType.ociIndex, {
            schemaVersion: 2,
            manifests: [entry],
          });
        },
      },
      'a digest that is a path': {
        code: 'manifest-invalid',
        lie: (registry) => {
          serve(registry, image, {
            change: (it) => ({
              ...it,
              layers: [{ mediaType: LAYER, digest: 'sha256:../../../../etc/passwd', size: 1 }],
            }),
          });
        },
      },
      'layers that are not what the configuration says': {
        code: 'layer-digest-mismatch',
        lie: (registry) => {
          const other = gzipSync(Buffer.from(image.layers[0]!).fill('z', 600, 605));
          serve(registry, image, { blobs: [other, gzipSync(image.layers[1]!)] });
        },
      },
      'to come again in a year': {
        code: 'registry-rate-limited',
        message: new RegExp(`try again at ${new Date().getUTCFullYear() + 1}-`),
        lie: (registry) => {
          registry.intercept = ({ url = '' }, response) => {
            if (!url.includes('/manifests/')) return false;
            response.writeHead(429, { 'retry-after': String(365 * 24 * 3600) });
            response.end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}');
            return true;
          };
        },
      },
      'that it does not know who asks, always': {
        code: 'registry-unauthorized',
        lie: (registry) => {
          registry.intercept = ({ url = '' }, response) => {
            if (url.startsWith('/token')) response.end('{"token":"t"}');
            else {
              const challenge = `Bearer realm="${registry.url}/token",service="s"`;
              response.writeHead(401, { 'www-authenticate': challenge });
              response.end();
            }
            return true;
          };
        },
      },
    };
    for (const [name, { code, message, kept = false, lie }] of Object.entries(cases))
      await t.test(name, async (t) => {
        const stores = await newStores(t);
        const registry = await startMemoryRegistry(t);
        const fresh = await imageOf([base, { 'etc/motd': 'above\n' }]);
        const { blobs } = serve(registry, fresh);
        lie(registry, blobs[0]!);
        const before = { ...whatIsThere(stores), temporary: [] };
        const wanted = { code, ...(message && { message }) };
        await t.rejects(pull(stores, registry), wanted);
        t.ok(registry.requests.length < 60, `${registry.requests.length} requests`);
        t.same({ ...whatIsThere(stores), temporary: [] }, before, 'nothing is left');
        t.equal(sha256(blobs[0]!) in partsOf(stores), kept, 'but what is not known to be wrong');
      });
  });

  await t.test('what may go better later is tried again, and nothing else', async (t) => {
    const cases: [number, Record<string, string>, string | undefined][] = [
      [503, {}, undefined],
      [429, { 'retry-after': '0' }, undefined],
      [408, {}, undefined],
      [403, {}, 'registry-denied'],
      [404, {}, 'registry-missing'],
      [400, {}, 'registry-invalid'],
    ];
    for (const [status, headers, code] of cases) {
      const stores = await newStores(t);
      const registry = await startMemoryRegistry(t);
      serve(registry, image);
      let refused = 0;
      registry.intercept = ({ url = '' }, response) => {
        if (!url.includes('/manifests/') || refused === 2) return false;
        refused++;
        response.writeHead(status, headers);
        response.end();
        return true;
      };
      if (code === undefined) t.equal((await pull(stores, registry)).image.id, image.id);
      else await t.rejects(pull(stores, registry), { code });
      t.equal(refused, code === undefined ? 2 : 1, `${status}`);
    }
  });

  await t.test('a server that falls silent is left, and asked again', async (t) => {
    const stores = await newStores(t);
    const registry = await startMemoryRegistry(t);
    const [blob] = serve(registry, image).blobs as [Buffer];
    let silent = 0;
    registry.intercept = insteadOf(blob, ({ headers }, response) => {
      if (headers.range !== undefined) return false;
      silent++;
      response.writeHead(200, { 'content-length': blob.length });
      response.write(blob.subarray(0, 1000));
      return true;
    });
    const times = { connect: 1000, headers: 1000, silence: 1000 };
    t.equal((await pull(stores, registry, { times })).image.id, image.id);
    t.equal(silent, 1);
  });

  await t.test('another host gets no credentials', async (t) => {
    const users = { tester: 'secret of tester' };
    const credentials: Credentials = {
      kind: 'password',
      username: 'tester',
      password: new Secret(users.tester),
    };
    for (const authorization of ['basic', 'token'] as const) {
      const stores = await newStores(t);
      const registry = await startMemoryRegistry(t, { users, authorization });
      const other = await startMemoryRegistry(t);
      serve(other, image);
      const [blob] = serve(registry, image).blobs as [Buffer];
      registry.intercept = insteadOf(blob, ({ url }, response) => {
        response.writeHead(307, { location: `${other.url}${url!}` });
        response.end();
      });
      t.equal((await pull(stores, registry, { credentials })).image.id, image.id);
      t.ok(registry.counted('GET', '/blobs/').every(({ headers }) => headers.authorization));
      t.equal(other.counted('GET', '/blobs/').length, 1);
      t.ok(other.requests.every(({ headers }) => headers.authorization === undefined));
    }
    const stores = await newStores(t);
    const registry = await startMemoryRegistry(t, { users });
    serve(registry, image);
    await t.rejects(pull(stores, registry), {
      code: 'registry-unauthorized',
      message: /ply login/,
    });
    const wrong = { ...credentials, password: new Secret('not it') };
    const refused = pull(stores, registry, { credentials: wrong });
    await t.rejects(refused, { code: 'registry-unauthorized' });
    await refused.catch((error: unknown) => t.notMatch(String(error), /not it/));
  });

  await t.test(
    'a pull that is aborted leaves parts, and garbage collection takes them',
    async (t) => {
      const stores = await newStores(t);
      const registry = await startMemoryRegistry(t);
      const [blob] = serve(registry, image).blobs as [Buffer];
      const controller = new AbortController();
      registry.intercept = insteadOf(blob, (_, response) => {
        response.writeHead(200, { 'content-length': blob.length });
        response.write(blob.subarray(0, 50_000));
        const look = setInterval(() => {
          if ((partsOf(stores)[sha256(blob)] ?? 0) === 50_000) controller.abort(new Error('stop'));
        }, 10);
        response.on('close', () => clearInterval(look));
      });
      await t.rejects(pull(stores, registry, { signal: controller.signal }), { message: 'stop' });
      t.same(whatIsThere(stores).images, []);
      t.equal(partsOf(stores)[sha256(blob)], 50_000);
      t.ok(stores.layers.garbage().some(({ kind }) => kind === 'blob'));
      await stores.layers.collectGarbage();
      t.same(partsOf(stores), {});
    },
  );

  await t.test('pulls at once fetch each blob once', async (t) => {
    const registry = await startMemoryRegistry(t);
    const { blobs } = serve(registry, image);
    const stores = await newStores(t);
    const { openStores } = await import('../image/fixture.js');
    const others = await Promise.all(Array.from({ length: 9 }, () => openStores(stores.root)));
    t.teardown(() => others.forEach(({ layers }) => layers.close()));
    const pulled = await Promise.all([stores, ...others].map((each) => pull(each, registry)));
    t.ok(pulled.every((each) => each.image.id === image.id));
    for (const blob of blobs) t.equal(registry.counted('GET', sha256(blob)).length, 1);
    t.same(partsOf(stores), {});
  });
}
