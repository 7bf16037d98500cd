import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { hexOf, type Digest } from '../../src/base/digest.js';
import { copy } from '../../src/engine/registries/copy.js';
import { startMemoryRegistry, type MemoryRegistry } from '../support/memory-registry.js';

t.setTimeout(120_000);

const oci = 'application/vnd.oci.image';

interface PutManifest {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform: { readonly os: string; readonly architecture: string };
}

/** Puts an image of one layer there; returns its manifest's descriptor. */
function putImage(
  registry: MemoryRegistry,
  tag: string,
  architecture: string,
  docker = false,
): PutManifest {
  const config = registry.putBlob('app', JSON.stringify({ architecture, os: 'linux' }));
  const layer = registry.putBlob('app', `the layer of ${architecture}`);
  const vendor = 'application/vnd.docker';
  const types = docker
    ? {
        manifest: `${vendor}.distribution.manifest.v2+json`,
        config: `${vendor}.container.image.v1+json`,
        layer: `${vendor}.image.rootfs.diff.tar.gzip`,
      }
    : {
        manifest: `${oci}.manifest.v1+json`,
        config: `${oci}.config.v1+json`,
        layer: `${oci}.layer.v1.tar+gzip`,
      };
  const manifest = {
    schemaVersion: 2,
    mediaType: types.manifest,
    config: { mediaType: types.config, ...config },
    layers: [{ mediaType: types.layer, ...layer }],
  };
  const digest = registry.putManifest('app', tag, types.manifest, manifest);
  return {
    mediaType: types.manifest,
    digest,
    size: JSON.stringify(manifest).length,
    platform: { os: 'linux', architecture },
  };
}

const environment = { HOME: '/nonexistent' };

await t.test('between registries, one platform or all, and nothing twice', async (t) => {
  const [from, to] = [await startMemoryRegistry(t), await startMemoryRegistry(t)];
  const manifests = ['amd64', 'arm64'].map((name) => putImage(from, name, name));
  const index = from.putManifest('app', 'all', `${oci}.index.v1+json`, {
    schemaVersion: 2,
    mediaType: `${oci}.index.v1+json`,
    manifests,
  });
  const source = `docker://${from.host}/app:all`;
  const one = await copy(source, `docker://${to.host}/copy:arm`, {
    environment,
    platform: 'linux/arm64',
  });
  t.equal(one.digest, manifests[1]!.digest);
  t.equal(to.repository('copy').blobs.size, 2, 'nothing of the other platform');
  const all = await copy(source, `docker://${to.host}/copy:all`, { environment, all: true });
  t.equal(all.digest, index, 'the same digest');
  t.equal(to.repository('copy').blobs.size, 4);
  for (const { digest } of manifests) t.ok(to.repository('copy').manifests.has(digest));
  const fetched = from.counted('GET', '/blobs/').length;
  await copy(source, `docker://${to.host}/copy:again`, { environment, all: true });
  t.equal(from.counted('GET', '/blobs/').length, fetched, 'what is there is not fetched');
  await t.rejects(
    copy(source, `docker://${to.host}/copy:x`, { environment, platform: 'linux/s390x' }),
    { code: 'image-missing', message: /linux\/amd64, linux\/arm64/ },
  );
});

await t.test('into a layout and out of it', async (t) => {
  const registry = await startMemoryRegistry(t);
  const { digest } = putImage(registry, '1', 'amd64');
  putImage(registry, 'docker', 'arm64', true);
  const layout = join(t.testdir(), 'layout');
  for (let times = 0; times < 2; times++) {
    const view = await copy(`docker://${registry.host}/app:1`, `oci:${layout}:one`, {
      environment,
    });
    t.equal(view.digest, digest);
  }
  const made = await copy(`docker://${registry.host}/app:docker`, `oci:${layout}:two`, {
    environment,
    all: true,
  });
  t.equal(made.mediaType, `${oci}.manifest.v1+json`, 'what a layout can hold');
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as {
    manifests: unknown[];
  };
  t.equal(index.manifests.length, 2, 'a name is there once');
  t.equal(readdirSync(join(layout, 'blobs/sha256')).length, 6);
  const back = await copy(`oci:${layout}:one`, `docker://${registry.host}/back:1`, { environment });
  t.equal(back.digest, digest);
  await t.rejects(copy(`oci:${layout}`, `docker://${registry.host}/back:2`, { environment }), {
    code: 'image-missing',
  });
  t.notOk(registry.repository('back').manifests.has('2'));
});

await t.test('what is not what its digest says goes nowhere', async (t) => {
  const registry = await startMemoryRegistry(t);
  const { digest } = putImage(registry, '1', 'amd64');
  const { blobs } = registry.repository('app');
  const [name] = [...blobs.keys()];
  blobs.set(name!, Buffer.from('x'.repeat(blobs.get(name!)!.length)));
  const layout = join(t.testdir(), 'layout');
  await t.rejects(copy(`docker://${registry.host}/app:1`, `oci:${layout}:one`, { environment }), {
    code: 'blob-digest-mismatch',
  });
  const there = readdirSync(join(layout, 'blobs/sha256'));
  t.notOk(there.includes(hexOf(name as Digest)));
  t.notOk(there.includes(hexOf(digest as Digest)), 'nor the manifest');
  t.notOk(readdirSync(layout).includes('index.json'));
});

await t.test('what is asked wrongly', async (t) => {
  for (const [from, to] of [
    ['app', 'docker://localhost/x'],
    ['dir:/tmp', 'docker://localhost/x'],
    ['docker://localhost:1/x', 'oci:'],
  ] as const)
    await t.rejects(copy(from, to, { environment }), { code: 'usage' });
});
