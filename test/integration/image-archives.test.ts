/**
 * Archives of images between this program and skopeo, podman and dockerd: each reads what the
 * others wrote, and the ids stay.
 */
import t from 'tap';
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { loadImages, type LoadedImage } from '../../src/image/load-image.js';
import { familiarString } from '../../src/image/reference.js';
import { saveImages } from '../../src/image/save-image.js';
import { sourceOf } from '../layer/fixture.js';
import {
  archiveOf,
  docker20,
  imageOf,
  imageOfTars,
  newStores,
  type Stores,
} from '../image/fixture.js';
import { succeed } from '../support/command.js';
import { workspace } from '../suites/workspace.js';
import { startDockerd } from '../support/private-dockerd.js';

t.setTimeout(300_000);

const told = (loaded: readonly LoadedImage[]): string[] =>
  loaded.map(({ image, tags }) => [...tags.map(familiarString), image.id].join(' '));

if (process.getuid?.() !== 0)
  t.pass('needs root', { skip: 'dockerd and layers with owners need root' });
else {
  const one = await imageOf([{ 'etc/issue': 'hello\n' }]);
  const two = imageOfTars([
    one.layers[0]!,
    (await imageOf([{ 'etc/.wh.issue': '', 'etc/motd': 'x'.repeat(100_000) }])).layers[0]!,
  ]);
  const images = await archiveOf(
    docker20([
      { image: one, tags: ['localhost/small:1'] },
      { image: two, tags: ['localhost/small:2'] },
    ]),
  );

  /** A store with both, and what it saves of them. */
  const saved = async (
    test: Parameters<typeof newStores>[0],
  ): Promise<Stores & { base: string; path: string }> => {
    const stores = await newStores(test);
    await loadImages(sourceOf(images), stores);
    const path = join(stores.base, 'saved.tar');
    await pipeline(saveImages(['localhost/small'], stores), createWriteStream(path));
    return { ...stores, path };
  };

  await t.test('skopeo', async (t) => {
    const { path, base } = await saved(t);
    const idOf = async (from: string): Promise<unknown> => {
      const manifest = JSON.parse(await succeed(['skopeo', 'inspect', '--raw', from])) as {
        config: { digest: string };
      };
      return manifest.config.digest;
    };
    t.equal(
      await idOf(`docker-archive:${path}:localhost/small:2`),
      two.id,
      'reads ours as docker-archive',
    );
    t.equal(await idOf(`oci-archive:${path}:2`), two.id, 'and as an OCI layout');
    const copy = (to: string): Promise<string> =>
      succeed(['skopeo', 'copy', '-q', `docker-archive:${path}:localhost/small:2`, to]);
    await copy(`dir:${base}/dir`);
    await copy(`docker-archive:${base}/docker.tar:localhost/small:2`);
    await copy(`oci:${base}/oci:localhost/small:2`);
    await copy(`oci-archive:${base}/oci.tar:localhost/small:2`);
    const ociId = await idOf(`oci:${base}/oci:localhost/small:2`);
    const stores = await newStores(t);
    t.same(told(await loadImages({ path: `${base}/docker.tar` }, stores)), [
      `localhost/small:2 ${two.id}`,
    ]);
    t.same(told(await loadImages({ path: `${base}/dir` }, stores)), [two.id]);
    // skopeo writes another configuration for OCI, and with it another id; the layers are the same.
    for (const path of [`${base}/oci`, `${base}/oci.tar`])
      t.same(told(await loadImages({ path }, stores)), [`localhost/small:2 ${String(ociId)}`]);
    t.equal(stores.layers.layers().length, 2);
  });

  await t.test('podman', async (t) => {
    const { path, base } = await saved(t);
    const podman = (...words: string[]): Promise<string> =>
      succeed([
        'podman',
        '--root',
        `${base}/podman`,
        '--runroot',
        `${base}/run`,
        '--storage-driver',
        'vfs',
        ...words,
      ]);
    await podman('load', '-q', '-i', path);
    const idOf = async (name: string): Promise<string> =>
      `sha256:${(await podman('image', 'inspect', '--format', '{{.Id}}', name)).trim()}`;
    t.equal(await idOf('localhost/small:1'), one.id);
    t.equal(await idOf('localhost/small:2'), two.id);
    for (const format of ['docker-archive', 'oci-archive', 'docker-dir', 'oci-dir']) {
      const to = join(base, format);
      await podman('save', '-q', '--format', format, '-o', to, 'localhost/small:2');
      const stores = await newStores(t);
      const [loaded] = await loadImages({ path: to }, stores);
      t.same(loaded!.image.config.diffIds, two.diffIds, `${format}: the layers`);
      if (!format.startsWith('oci')) t.equal(loaded!.image.id, two.id, `${format}: the id`);
      if (format.endsWith('archive'))
        t.same(loaded!.tags.map(familiarString), ['localhost/small:2'], `${format}: the name`);
    }
  });

  await t.test('dockerd', async (t) => {
    const { path, base } = await saved(t);
    const engine = await startDockerd(t, await workspace(t, 'root', 'exec'), {
      storageDriver: 'vfs',
    });
    await engine.docker('load', '-i', path);
    const idOf = (name: string): Promise<string> =>
      engine.docker('image', 'inspect', '--format', '{{.Id}}', name);
    t.equal(await idOf('localhost/small:1'), one.id, 'reads what we saved');
    t.equal(await idOf('localhost/small:2'), two.id);

    await engine.docker(
      'save',
      '-o',
      `${base}/docker.tar`,
      'localhost/small:1',
      'localhost/small:2',
    );
    const stores = await newStores(t);
    t.same(told(await loadImages({ path: `${base}/docker.tar` }, stores)).sort(), [
      `localhost/small:1 ${one.id}`,
      `localhost/small:2 ${two.id}`,
    ]);

    // The same archive without its manifest is one of before 1.10.
    await mkdir(`${base}/old`);
    await succeed(['tar', '-xf', `${base}/docker.tar`, '-C', `${base}/old`]);
    await succeed(['sh', '-c', 'rm -- *.json && tar -cf ../old.tar -- *'], { cwd: `${base}/old` });
    await engine.docker('load', '-i', `${base}/old.tar`);
    const loaded = await loadImages({ path: `${base}/old.tar` }, stores);
    for (const { image, tags } of loaded)
      for (const tag of tags)
        t.equal(
          image.id,
          await idOf(familiarString(tag)),
          `${familiarString(tag)} of the old form`,
        );
    t.same(loaded.flatMap(({ tags }) => tags.map(familiarString)).sort(), [
      'localhost/small:1',
      'localhost/small:2',
    ]);
  });
}
