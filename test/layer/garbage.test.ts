import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { hexOf } from '../../src/base/digest.js';
import { randomId } from '../../src/base/ids.js';
import { whileFailing } from '../support/failing-call.js';
import { isRoot, newStore, openStore, sourceOf, tarOf } from './fixture.js';

t.setTimeout(120_000);
if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else {
  const base = await tarOf({ file: 'base\n' });
  const top = await tarOf({ file: 'top\n' });

  await t.test('what dockerd leaves when it is killed', async (t) => {
    const { store, driver, root } = await newStore(t);
    const layerdb = join(root, 'image/overlay2/layerdb');
    const kept = await store.register(sourceOf(base), undefined);
    const gone = await store.register(sourceOf(top), kept.chainId);
    // A deletion cut off, as moby begins it; a registration cut off, which names no cache-id yet,
    // and its directory.
    const removing = join(layerdb, 'sha256', `${hexOf(gone.chainId)}-${randomId()}-removing`);
    renameSync(join(layerdb, 'sha256', hexOf(gone.chainId)), removing);
    const writeSet = join(layerdb, 'tmp/write-set-123456789');
    mkdirSync(writeSet);
    writeFileSync(join(writeSet, 'tar-split.json.gz'), '');
    const unnamed = randomId();
    await driver.create(unnamed, kept.cacheId);
    const half = randomId();
    mkdirSync(join(root, 'overlay2', half, 'diff'), { recursive: true });

    store.refresh();
    t.same(
      store
        .garbage()
        .map(({ kind, path }) => `${kind} ${path}`)
        .sort(),
      [
        ...[unnamed, half].map((id) => `driver-directory ${join(root, 'overlay2', id)}`),
        ...[writeSet, removing].map((path) => `unfinished ${path}`),
      ].sort(),
    );
    const { removed, failed } = await store.collectGarbage();
    t.equal(removed.length, 4);
    t.same(failed, []);
    t.same(driver.ids(), [kept.cacheId]);
    t.same(readdirSync(join(layerdb, 'sha256')), [hexOf(kept.chainId)]);
    t.same(readdirSync(join(layerdb, 'tmp')), []);
    t.same(await store.check({ deep: true }), []);
  });

  await t.test('a look that fails makes nothing garbage', async (t) => {
    const { store, driver, root } = await newStore(t);
    await driver.create('a'.repeat(64), undefined);
    const writeSet = join(root, 'image/overlay2/layerdb/tmp/write-set-1');
    mkdirSync(writeSet);
    writeFileSync(join(writeSet, 'cache-id'), 'a'.repeat(64));
    for (const [look, what] of ['whether somebody works on it', 'what it names'].entries()) {
      let looks = 0;
      const fails = (path: string): boolean => path === writeSet && looks++ === look;
      await t.rejects(
        whileFailing('openSync', fails, async () => store.collectGarbage()),
        { code: 'EIO' },
        what,
      );
      t.ok(driver.exists('a'.repeat(64)));
    }
    const link = join(root, 'overlay2/l');
    await t.rejects(
      whileFailing(
        'readlinkSync',
        (path) => path.startsWith(link),
        () => driver.remove('a'.repeat(64)),
      ),
      { code: 'EIO' },
    );
    t.ok(driver.exists('a'.repeat(64)), 'not taken away without its short name');
    t.equal((await store.collectGarbage()).removed.length, 1);
    t.same(readdirSync(link), []);
    t.same(driver.ids(), []);
  });

  await t.test('an unfinished deletion does not take what another layer has', async (t) => {
    const { store, driver, root } = await newStore(t);
    const layer = await store.register(sourceOf(base), undefined);
    for (const name of [
      `sha256/${hexOf(layer.chainId)}-${randomId()}-removing`,
      'tmp/write-set-1',
    ]) {
      mkdirSync(join(root, 'image/overlay2/layerdb', name));
      writeFileSync(join(root, 'image/overlay2/layerdb', name, 'cache-id'), layer.cacheId);
    }
    symlinkSync(root, join(root, 'image/overlay2/layerdb/tmp/write-set-2'));
    writeFileSync(join(root, 'image/overlay2/layerdb/tmp/write-set-3'), '');
    t.equal((await store.collectGarbage()).removed.length, 4);
    t.ok(driver.exists(layer.cacheId));
    t.same(await store.check({ deep: true }), []);
  });

  await t.test(
    'while a layer does not say what it has, nothing that it may have is removed',
    async (t) => {
      const { store, driver, root } = await newStore(t);
      const layer = await store.register(sourceOf(base), undefined);
      const cacheId = join(root, 'image/overlay2/layerdb/sha256', hexOf(layer.chainId), 'cache-id');
      rmSync(cacheId);
      store.refresh();
      t.same(
        store.skipped.map(({ reason }) => reason),
        ['has no cache-id'],
      );
      const { repaired, left } = await store.repair();
      t.same(repaired, []);
      t.match(left, [{ code: 'layer-skipped' }]);
      t.ok(driver.exists(layer.cacheId));
      writeFileSync(cacheId, layer.cacheId);
      store.refresh();
      t.same(await store.check({ deep: true }), [], 'put right by hand');
    },
  );

  await t.test('layers that no image needs, where it is known which do', async (t) => {
    const { store, driver, root } = await newStore(t);
    const kept = await store.register(sourceOf(base), undefined);
    const loose = await store.register(sourceOf(top), kept.chainId);
    const looser = await store.register(sourceOf(base), loose.chainId);
    store.close();
    const { store: other } = await openStore(root);
    t.teardown(() => other.close());
    t.same(other.garbage(), [], 'nobody says which images there are');
    let images = [kept.chainId, looser.chainId];
    other.addHolder(() => images);
    t.same(other.garbage(), []);
    images = [kept.chainId];
    t.match(other.garbage(), [{ kind: 'layer', chainId: looser.chainId }]);
    t.same(
      (await other.collectGarbage()).removed.map(({ chainId }) => chainId),
      [looser.chainId, loose.chainId],
    );
    t.same(
      other.layers().map(({ chainId }) => chainId),
      [kept.chainId],
    );
    t.same(driver.ids(), [kept.cacheId]);
  });

  await t.test('what dockerd’s builder knows stays', async (t) => {
    const { store, driver, root } = await newStore(t);
    const layer = await store.register(sourceOf(base), undefined);
    await store.release(layer.chainId);
    const cached = await store.register(sourceOf(top), undefined);
    store.close();
    const snapshot = randomId();
    await driver.create(snapshot, undefined);
    mkdirSync(join(root, 'buildkit'));
    // Ids across the boundaries of whatever piece is read at once, in a file of some size.
    const pages = Buffer.alloc(3 << 20, 'x');
    pages.write(snapshot, (1 << 20) - 20, 'latin1');
    pages.write(cached.chainId, (2 << 20) - 70, 'latin1');
    writeFileSync(join(root, 'buildkit/snapshots.db'), pages);
    const { store: other } = await openStore(root);
    t.teardown(() => other.close());
    other.addHolder(() => []);
    t.same(other.garbage(), []);
    writeFileSync(join(root, 'buildkit/snapshots.db'), '');
    t.same(
      other
        .garbage()
        .map(({ kind }) => kind)
        .sort(),
      ['driver-directory', 'layer'],
    );
  });

  await t.test('below a mount nothing goes, though layerdb has lost the container', async (t) => {
    const { store, driver, root } = await newStore(t);
    const layer = await store.register(sourceOf(base), undefined);
    const { mountId, initId } = await store.createMounted('lost', layer.chainId);
    const { path } = await store.mount('lost');
    const lost = join(root, 'image/overlay2/layerdb/mounts/lost');
    renameSync(lost, join(root, 'lost'));
    store.close();

    const { store: other, driver: anew } = await openStore(root);
    t.teardown(() => other.close());
    other.addHolder(() => []);
    t.same(other.garbage(), []);
    t.same((await other.collectGarbage()).removed, []);
    t.equal(readFileSync(join(path, 'file'), 'utf8'), 'base\n');
    t.ok(driver.exists(initId!));

    await anew.put(mountId);
    const { removed, failed } = await other.collectGarbage();
    t.same(removed.map(({ kind }) => kind).sort(), [
      'driver-directory',
      'driver-directory',
      'layer',
    ]);
    t.same(failed, []);
    t.same(driver.ids(), []);
  });

  await t.test(
    'listing changes nothing, and a root that is open for reading has it listed, too',
    async (t) => {
      const { store, root } = await newStore(t);
      await store.register(sourceOf(base), undefined);
      const writeSet = join(root, 'image/overlay2/layerdb/tmp/write-set-1');
      mkdirSync(writeSet);
      const { store: reader } = await openStore(root, { readOnly: true });
      t.match(reader.garbage(), [{ kind: 'unfinished', path: writeSet }]);
      t.match(await reader.check(), [{ code: 'garbage', path: writeSet }]);
      t.ok(existsSync(writeSet));
      await t.rejects(reader.collectGarbage(), { code: 'root-read-only' });
    },
  );
}
