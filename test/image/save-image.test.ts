import { join } from 'node:path';
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { hexOf, sha256, type Digest } from '../../src/base/digest.js';
import { loadImages } from '../../src/image/load-image.js';
import { familiarString } from '../../src/image/reference.js';
import { saveImages } from '../../src/image/save-image.js';
import { contentOf, isRoot, sourceOf } from '../layer/fixture.js';
import { succeed } from '../support/command.js';
import {
  archiveOf,
  docker20,
  fileOf,
  imageOf,
  imageOfTars,
  newStores,
  whatIsThere,
} from './fixture.js';

t.setTimeout(120_000);

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const one = await imageOf([{ 'etc/issue': 'hello\n' }]);
  const two = imageOfTars([
    one.layers[0]!,
    (await imageOf([{ 'etc/motd': 'x'.repeat(300_000) }])).layers[0]!,
  ]);
  const archive = await archiveOf(
    docker20([
      { image: one, tags: ['small:1', 'small:alias', 'other/name:1'] },
      { image: two, tags: ['small:2'], parent: one.id },
    ]),
  );

  await t.test('the archive is an OCI layout and a docker-archive, each blob once', async (t) => {
    const stores = await newStores(t);
    await loadImages(sourceOf(archive), stores);
    const bytes = await contentOf(saveImages(['small', two.id], stores));
    await fileOf(stores, 'a.tar', bytes);
    const out = join(stores.base, 'out');
    await succeed(['mkdir', out]);
    await succeed(['tar', '-xf', join(stores.base, 'a.tar'), '-C', out]);
    t.same(readdirSync(out).sort(), [
      'blobs',
      'index.json',
      'manifest.json',
      'oci-layout',
      'repositories',
    ]);
    const blobs = readdirSync(join(out, 'blobs/sha256'));
    for (const blob of blobs)
      t.equal(
        hexOf(sha256(readFileSync(join(out, 'blobs/sha256', blob)))),
        blob,
        'a blob is what its name says',
      );
    t.equal(blobs.length, 2 + 2 + 2, 'two layers, two configurations, two manifests');
    const json = (path: string): unknown => JSON.parse(readFileSync(join(out, path), 'utf8'));
    const blob = (digest: string): string => `blobs/sha256/${hexOf(digest as Digest)}`;
    const source = (diffId: string, size: number): object => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
      size,
      digest: diffId,
    });
    const [base, top] = [two.diffIds[0]!, two.diffIds[1]!];
    t.same(json('manifest.json'), [
      {
        Config: blob(one.id),
        RepoTags: ['small:1', 'small:alias'],
        Layers: [blob(base)],
        LayerSources: { [base]: source(base, one.layers[0]!.length) },
      },
      {
        Config: blob(two.id),
        RepoTags: ['small:2'],
        Layers: [blob(base), blob(top)],
        Parent: one.id,
        LayerSources: {
          [base]: source(base, one.layers[0]!.length),
          [top]: source(top, two.layers[1]!.length),
        },
      },
    ]);
    t.same(json('repositories'), { small: { 1: hexOf(base), alias: hexOf(base), 2: hexOf(top) } });
    t.same(json('oci-layout'), { imageLayoutVersion: '1.0.0' });
    const index = json('index.json') as {
      manifests: { digest: string; annotations: Record<string, string> }[];
    };
    t.same(
      index.manifests.map(({ annotations }) => annotations),
      ['1', 'alias', '2'].map((tag) => ({
        'io.containerd.image.name': `docker.io/library/small:${tag}`,
        'org.opencontainers.image.ref.name': tag,
      })),
    );
    const manifest = json(blob(index.manifests[2]!.digest)) as {
      config: { digest: string };
      layers: { digest: string; size: number }[];
    };
    t.equal(manifest.config.digest, two.id);
    t.same(
      manifest.layers.map(({ digest, size }) => [digest, size]),
      [
        [base, one.layers[0]!.length],
        [top, two.layers[1]!.length],
      ],
    );
  });

  await t.test('the same images give the same bytes, from another root, too', async (t) => {
    const [stores, others] = [await newStores(t), await newStores(t)];
    await loadImages(sourceOf(archive), stores);
    const bytes = await contentOf(saveImages(['small:2', 'small:1'], stores));
    t.ok((await contentOf(saveImages(['small:2', 'small:1'], stores))).equals(bytes));
    const loaded = await loadImages(sourceOf(bytes), others);
    t.same(
      loaded.map(({ image, tags }) => [image.id, ...tags.map(familiarString)]),
      [
        [two.id, 'small:2'],
        [one.id, 'small:1'],
      ],
    );
    t.equal(others.images.get(two.id)!.parent, one.id);
    t.ok((await contentOf(saveImages(['small:2', 'small:1'], others))).equals(bytes));
  });

  await t.test('without its manifest.json it is loaded as an OCI layout', async (t) => {
    const [stores, others] = [await newStores(t), await newStores(t)];
    await loadImages(sourceOf(archive), stores);
    const { path } = await fileOf(
      stores,
      'a.tar',
      await contentOf(saveImages(['small:1', 'other/name'], stores)),
    );
    await succeed(['tar', '--delete', '-f', path, 'manifest.json', 'repositories']);
    const loaded = await loadImages({ path }, others);
    t.same(
      loaded
        .flatMap(({ image, tags }) => tags.map((tag) => `${familiarString(tag)} ${image.id}`))
        .sort(),
      [`other/name:1 ${one.id}`, `small:1 ${one.id}`],
    );
  });

  await t.test('names that are not there, and who stops in the middle', async (t) => {
    const stores = await newStores(t);
    await loadImages(sourceOf(archive), stores);
    const before = whatIsThere(stores);
    await t.rejects(contentOf(saveImages(['small:1', 'small:9'], stores)), {
      code: 'image-missing',
    });
    await t.rejects(contentOf(saveImages([], stores)), { code: 'image-missing' });
    for await (const _ of saveImages(['small:2'], stores)) break;
    const controller = new AbortController();
    const options = { signal: controller.signal, onProgress: () => controller.abort() };
    await t.rejects(contentOf(saveImages(['small:2'], stores, options)), { name: 'AbortError' });
    t.same(whatIsThere(stores), before);
    t.equal(
      stores.layers.references(stores.images.get(two.id)!.chainId!),
      0,
      'the layers are no longer held',
    );
  });

  await t.test('a layer that is not what it was is told in the middle', async (t) => {
    const stores = await newStores(t);
    await loadImages(sourceOf(archive), stores);
    const directory = stores.driver.directories(
      stores.layers.get(one.diffIds[0] as never)!.cacheId,
    ).own;
    await succeed(['sh', '-c', 'printf HELLO > "$0"/etc/issue', directory]);
    await t.rejects(contentOf(saveImages(['small:1'], stores)), { code: 'layer-damaged' });
  });
}
