/**
 * Several processes on one root at once. What one holds, another does not delete; what two make is
 * there once.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ChainId } from '../../src/base/digest.js';
import type { LayerStore } from '../../src/layer/layer-store.js';
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
import { inProcess } from './processes.js';

t.setTimeout(300_000);

if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else {
  const base = await tarOf({ file: 'base\n' });
  const top = await tarOf({ file: 'top\n' });

  const clean = async (t: Test, store: LayerStore): Promise<void> => {
    t.same(await store.check({ deep: true }), []);
    t.same(store.skipped, []);
  };

  await t.test('processes that register the same layers and others', async (t) => {
    const { store, driver, root } = await newStore(t);
    const files = join(root, '../files');
    mkdirSync(files);
    writeFileSync(join(files, 'base'), base);
    writeFileSync(join(files, 'top'), top);
    const own = await Promise.all([0, 1, 2].map((index) => tarOf({ own: String(index) })));
    for (const [index, tar] of own.entries()) writeFileSync(join(files, `own${index}`), tar);
    const results = await Promise.all(
      own.map((_, index) =>
        inProcess(root, {
          action: 'register',
          tars: ['base', 'top', `own${index}`].map((name) => join(files, name)),
        }),
      ),
    );
    const expected = own.map((tar) => [
      diffIdOf(base),
      chainOf(diffIdOf(base), diffIdOf(top)),
      chainOf(diffIdOf(base), diffIdOf(top), diffIdOf(tar)),
    ]);
    t.same(
      results.map(({ result }) => result),
      expected,
    );
    store.refresh();
    t.equal(store.layers().length, 5);
    t.equal(driver.ids().length, 5);
    await clean(t, store);
  });

  await t.test(
    'processes that register and release the same layers over and over, while another reads',
    async (t) => {
      const { store, root } = await newStore(t);
      const files = join(root, '../files');
      mkdirSync(files);
      const tars = [base, top].map((tar, index) => {
        writeFileSync(join(files, String(index)), tar);
        return join(files, String(index));
      });
      let running = true;
      const writers = Promise.all(
        [0, 1, 2].map(async () => {
          for (let round = 0; round < 5; round++)
            await inProcess(root, { action: 'register', tars, release: true });
        }),
      ).finally(() => (running = false));
      const { store: reader } = await openStore(root, { readOnly: true });
      const skipped: unknown[] = [];
      while (running) {
        reader.refresh();
        skipped.push(...reader.skipped);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await writers;
      t.same(skipped, [], 'a reader sees no layer half');
      store.refresh();
      t.same(store.layers(), [], 'who releases last deletes');
      await clean(t, store);
    },
  );

  await t.test('what another process holds is not deleted', async (t) => {
    const { store, root } = await newStore(t);
    const { store: other } = await openStore(root);
    const layer = await store.register(sourceOf(base), undefined);
    other.refresh();
    other.acquire(layer.chainId);
    t.same(await other.release(layer.chainId), [], 'registered, and not given back yet');
    t.same(await store.release(layer.chainId), [layer]);

    await store.register(sourceOf(base), undefined);
    other.refresh();
    other.lease(layer.chainId);
    t.same(await store.release(layer.chainId), [], 'leased');
    other.close();
    store.acquire(layer.chainId);
    t.equal(
      (await store.release(layer.chainId)).length,
      1,
      'the lease ended with the store that had it',
    );
  });

  await t.test('a parent stays while a layer on top of it is being made', async (t) => {
    const { store, root } = await newStore(t);
    const { store: other } = await openStore(root);
    t.teardown(() => other.close());
    const parent = await store.register(sourceOf(base), undefined);
    let released: unknown;
    const source = (async function* () {
      yield top;
      // In the midst of it, everybody else lets go.
      released = await store.release(parent.chainId);
    })();
    other.refresh();
    const child = await other.register(source, parent.chainId);
    t.same(released, []);
    t.ok((await contentOf(other.tar(child.chainId))).equals(top));
    t.equal((await other.release(child.chainId)).length, 2);
  });

  await t.test('garbage is not what somebody is making', async (t) => {
    const { store, driver, root } = await newStore(t);
    const { store: other } = await openStore(root);
    t.teardown(() => other.close());
    store.addHolder(() => []);
    let collected: unknown;
    const source = (async function* () {
      yield top.subarray(0, 600);
      t.equal(driver.ids().length, 1, 'half there');
      t.same(store.garbage(), []);
      collected = await store.collectGarbage();
      yield top.subarray(600);
    })();
    const layer = await other.register(source, undefined);
    t.same(collected, { removed: [], failed: [] });
    t.same(store.garbage(), [], 'nor what was registered, before its image is there');
    t.ok((await contentOf(other.tar(layer.chainId))).equals(top));
  });

  await t.test('a killed process’s leases are nothing', async (t) => {
    const { store, root } = await newStore(t);
    const files = join(root, '../tar');
    writeFileSync(files, base);
    const { result } = await inProcess(root, { action: 'register', tars: [files] });
    const [chainId] = result as ChainId[];
    writeFileSync(join(root, 'plyfs/leases/0'), `+${chainId!}\n`);
    store.refresh();
    store.acquire(chainId!);
    t.equal((await store.release(chainId!)).length, 1);
    t.same(readdirSync(join(root, 'plyfs/leases')), [], 'and swept');
  });
}
