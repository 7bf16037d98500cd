import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { hexOf } from '../../src/base/digest.js';
import {
  chainOf,
  contentOf,
  diffIdOf,
  isRoot,
  newStore,
  openStore,
  sourceOf,
  tarOf,
} from './fixture.js';

t.setTimeout(300_000);
if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else {
  const base = await tarOf({
    'etc/': { type: 'directory', mode: 0o755 },
    'etc/issue': 'hello\n',
    'usr/bin/x': 'x'.repeat(5000),
  });
  const top = await tarOf({ 'etc/.wh.issue': '', 'etc/motd': 'welcome\n' });

  await t.test('a registered layer is on disk as Docker writes it', async (t) => {
    const { store, driver, root } = await newStore(t);
    const lower = await store.register(sourceOf(base), undefined);
    const upper = await store.register(sourceOf(gzipSync(top)), lower.chainId);
    t.equal(lower.chainId, diffIdOf(base), 'the base is named by its tar');
    t.equal(upper.diffId, diffIdOf(top), 'a compressed tar has the DiffID of the uncompressed one');
    t.equal(upper.chainId, chainOf(diffIdOf(base), diffIdOf(top)));
    t.equal(upper.parent, lower);
    t.same([lower.depth, upper.depth], [1, 2]);

    const layerdb = join(root, 'image/overlay2/layerdb');
    const file = (name: string): string =>
      readFileSync(join(layerdb, 'sha256', hexOf(upper.chainId), name), 'latin1');
    t.same(readdirSync(join(layerdb, 'sha256', hexOf(upper.chainId))).sort(), [
      'cache-id',
      'diff',
      'parent',
      'size',
      'tar-split.json.gz',
    ]);
    t.equal(file('diff'), diffIdOf(top), 'no newline');
    t.equal(file('parent'), lower.chainId);
    t.match(file('cache-id'), /^[0-9a-f]{64}$/);
    t.equal(
      file('size'),
      String('welcome\n'.length),
      'what a layer takes on disk: whiteouts nothing',
    );
    t.equal(
      readFileSync(join(layerdb, 'sha256', hexOf(lower.chainId), 'size'), 'latin1'),
      String(6 + 5000),
    );
    const mode = (path: string): string =>
      (statSync(join(layerdb, path)).mode & 0o7777).toString(8);
    t.same(
      [
        '',
        'sha256',
        'mounts',
        `sha256/${hexOf(upper.chainId)}`,
        `sha256/${hexOf(upper.chainId)}/diff`,
      ].map(mode),
      ['700', '755', '755', '700', '644'],
    );
    t.same(readdirSync(join(layerdb, 'tmp')), []);

    const directories = driver.directories(upper.cacheId);
    t.equal(readFileSync(join(directories.own, 'etc/motd'), 'utf8'), 'welcome\n');
    t.same(directories.below, [driver.directories(lower.cacheId).own]);
  });

  await t.test(
    'another store on the root sees the same layers, and their tars to the byte',
    async (t) => {
      const { store, root } = await newStore(t);
      const lower = await store.register(sourceOf(base), undefined);
      const upper = await store.register(sourceOf(top), lower.chainId, {
        descriptor: { mediaType: 'x', size: 3 },
      });
      const { store: other } = await openStore(root, { readOnly: true });
      t.same(
        other.layers().map(({ chainId }) => chainId),
        [lower.chainId, upper.chainId],
      );
      t.same(other.get(upper.chainId), upper);
      t.same(other.skipped, []);
      t.ok((await contentOf(other.tar(lower.chainId))).equals(base));
      t.ok((await contentOf(other.tar(upper.chainId))).equals(top));
    },
  );

  await t.test(
    'a layer that is there is not made again, nor read when its DiffID is known',
    async (t) => {
      const { store, driver } = await newStore(t);
      const first = await store.register(sourceOf(base), undefined);
      const second = await store.register(sourceOf(base), undefined);
      t.equal(second, first);
      t.equal(driver.ids().length, 1, 'what was unpacked again is gone');
      const unread = {
        [Symbol.asyncIterator]: (): never => {
          throw new Error('read');
        },
      };
      t.equal(await store.register(unread, undefined, { expect: diffIdOf(base) }), first);
      t.equal(store.references(first.chainId), 3);
    },
  );

  await t.test('what is not the tar that was expected leaves nothing', async (t) => {
    const { store, driver } = await newStore(t);
    await t.rejects(store.register(sourceOf(base), undefined, { expect: diffIdOf(top) }), {
      code: 'diff-id-mismatch',
    });
    await t.rejects(store.register(sourceOf(base.subarray(0, 700)), undefined), {
      code: 'archive-damaged',
    });
    await t.rejects(store.register(sourceOf(base), chainOf(diffIdOf(top))), {
      code: 'layer-missing',
    });
    const abort = new AbortController();
    const endless = (async function* () {
      yield base.subarray(0, 512);
      abort.abort(new Error('stopped'));
      await new Promise(() => undefined);
    })();
    await t.rejects(
      store.register(endless, undefined, { signal: abort.signal }),
      { message: 'stopped' },
      'also while its source says nothing',
    );
    t.same(store.layers(), []);
    t.same(driver.ids(), []);
    t.same(store.garbage(), []);
  });

  await t.test('layers are released from the top down to what somebody needs', async (t) => {
    const { store, driver } = await newStore(t);
    const one = await store.register(sourceOf(base), undefined);
    const two = await store.register(sourceOf(top), one.chainId);
    const three = await store.register(sourceOf(base), two.chainId);
    const other = await store.register(sourceOf(await tarOf({ other: '' })), one.chainId);
    t.same(
      [one, two, three, other].map(({ chainId }) => store.references(chainId)),
      [3, 2, 1, 1],
      'children and who registered',
    );
    t.same(await store.release(one.chainId), []);
    t.same(await store.release(two.chainId), []);
    t.same(
      (await store.release(three.chainId)).map(({ chainId }) => chainId),
      [three.chainId, two.chainId],
      'down to the layer that has another on top',
    );
    t.same(
      store.layers().map(({ chainId }) => chainId),
      [one.chainId, other.chainId],
    );
    t.same([...driver.ids()].sort(), [one.cacheId, other.cacheId].sort());
    await t.rejects(
      store.release(one.chainId),
      { code: 'layer-not-held' },
      'not more often than acquired',
    );
    t.equal((await store.release(other.chainId)).length, 2);
    t.same(driver.ids(), []);
    t.same(store.garbage(), []);
  });

  await t.test('125 layers, and not one more', async (t) => {
    const { store, driver } = await newStore(t);
    let layer = await store.register(sourceOf(base), undefined);
    for (let depth = 2; depth <= 125; depth++)
      layer = await store.register(sourceOf(await tarOf({ file: String(depth) })), layer.chainId);
    t.equal(layer.depth, 125);
    await t.rejects(store.register(sourceOf(top), layer.chainId), {
      code: 'max-depth-exceeded',
      message: /max depth exceeded/,
    });
    t.equal(driver.directories(layer.cacheId).below.length, 124);
    t.equal(driver.ids().length, 125);
  });

  await t.test('a store for reading changes nothing', async (t) => {
    const { store, root } = await newStore(t);
    const { chainId } = await store.register(sourceOf(base), undefined);
    const { store: reader } = await openStore(root, { readOnly: true });
    await t.rejects(reader.register(sourceOf(top), undefined), { code: 'root-read-only' });
    reader.acquire(chainId);
    t.same(
      await reader.release(chainId),
      [],
      'what it acquired it may release, and that deletes nothing',
    );
    await t.rejects(reader.createMounted('one', chainId), { code: 'root-read-only' });
    t.throws(() => reader.exclusively(() => undefined), { code: 'root-read-only' });
    t.ok(reader.get(chainId));
  });
}
