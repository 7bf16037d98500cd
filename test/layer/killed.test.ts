/**
 * A process that is killed after any step of what it does leaves the layer or nothing, and garbage
 * that is known as such. Each action is swept: killed after its first step, after its second, and
 * so on until it ends by itself.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ChainId } from '../../src/base/digest.js';
import type { LayerStore } from '../../src/layer/layer-store.js';
import { workspace } from '../suites/workspace.js';
import { chainOf, contentOf, diffIdOf, isRoot, openStore, sourceOf, tarOf } from './fixture.js';
import { inProcess, killedInProcess } from './processes.js';
import type { Action } from './store-program.js';

t.setTimeout(600_000);

interface Prepared {
  readonly action: Action;
  /** Layers that some image would need, whatever becomes of the action. */
  readonly kept: readonly ChainId[];
  /** What the store may show afterwards: before the action, or after it. */
  readonly outcomes: readonly string[];
  /** What else must be so. */
  readonly holds?: () => boolean;
}

const shownBy = (store: LayerStore): string =>
  [
    ...store.layers().map(({ chainId }) => chainId),
    ...store.mountedLayers().map(({ name }) => name),
  ]
    .sort()
    .join(' ');

async function sweep(
  t: Test,
  prepare: (root: string, directory: string) => Promise<Prepared>,
): Promise<void> {
  for (let killAt = 1; ; killAt++) {
    const directory = await workspace(t, 'root');
    const root = join(directory, 'root');
    const { action, kept, outcomes, holds = () => true } = await prepare(root, directory);
    const killed = await killedInProcess(root, action, killAt);
    if (!killed) {
      t.ok(killAt > 3, `killed after each of ${killAt - 1} steps`);
      return;
    }
    const { store, driver } = await openStore(root);
    store.addHolder(() => kept);
    t.ok(outcomes.includes(shownBy(store)), `after ${killAt} steps: ${shownBy(store)}`);
    t.same(store.skipped, [], 'nothing half there');
    t.ok(holds(), 'what was written is there, all of it or nothing');
    for (const { code } of await store.check({ deep: true })) t.equal(code, 'garbage');
    t.same((await store.repair({ deep: true })).left, [], 'after collection the store is clean');
    t.same(readdirSync(join(root, 'image/overlay2/layerdb/tmp')), []);
    const records = join(root, 'plyfs/containers/overlay2');
    if (existsSync(records))
      t.same(
        readdirSync(records),
        store.mountedLayers().map(({ mountId }) => `${mountId}.json`),
        'a container has its record, and no other record is there',
      );
    const known = [
      ...store.layers().map(({ cacheId }) => cacheId as string),
      ...store
        .mountedLayers()
        .flatMap(({ mountId, initId }) => [mountId as string, initId as string]),
    ];
    t.same([...driver.ids()].sort(), known.sort(), 'nor anything else in the driver’s home');
    t.same(
      kept.filter((chainId) => store.get(chainId) === undefined),
      [],
    );
    store.close();
    // What was cut off can be done again.
    if (action.action === 'register') {
      await inProcess(root, action);
      const { store: after } = await openStore(root, { readOnly: true });
      t.equal(shownBy(after), outcomes.at(-1));
    }
  }
}

if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else {
  const base = await tarOf({ 'etc/': { type: 'directory', mode: 0o755 }, 'etc/issue': 'hello\n' });
  const top = await tarOf({ 'etc/.wh.issue': '', file: 'x'.repeat(100_000) });

  /** The base, registered by a process that has ended. */
  const withBase = async (root: string): Promise<ChainId> => {
    const { store } = await openStore(root);
    const { chainId } = await store.register(sourceOf(base), undefined);
    store.close();
    return chainId;
  };

  /** As the store shows them: sorted. */
  const both = (parent: ChainId): string =>
    [parent, chainOf(parent, diffIdOf(top))].sort().join(' ');

  await t.test('register', (t) =>
    sweep(t, async (root, directory) => {
      const parent = await withBase(root);
      writeFileSync(join(directory, 'top.tar'), top);
      return {
        action: { action: 'register', tars: [join(directory, 'top.tar')], parent },
        kept: [parent],
        outcomes: [parent, both(parent)],
      };
    }),
  );

  await t.test('release of two layers', (t) =>
    sweep(t, async (root) => {
      const parent = await withBase(root);
      const { store } = await openStore(root);
      const { chainId } = await store.register(sourceOf(top), parent);
      store.close();
      return {
        action: { action: 'release', chainId },
        kept: [],
        outcomes: [both(parent), parent, ''],
      };
    }),
  );

  await t.test('creation of a read-write layer', (t) =>
    sweep(t, async (root) => {
      const parent = await withBase(root);
      const action = { action: 'create', name: 'one', parent, record: '{}' } as const;
      return { action, kept: [parent], outcomes: [parent, `one ${parent}`] };
    }),
  );

  await t.test('release of a read-write layer', (t) =>
    sweep(t, async (root) => {
      const parent = await withBase(root);
      await inProcess(root, { action: 'create', name: 'one', parent, record: '{}' });
      return {
        action: { action: 'remove', name: 'one' },
        kept: [],
        outcomes: [`one ${parent}`, parent, ''],
      };
    }),
  );

  /** A read-write layer named `one` in which a file was written and a directory made. */
  const changed = async (root: string, parent: ChainId): Promise<string> => {
    await inProcess(root, { action: 'create', name: 'one', parent, record: '{}' });
    const { store } = await openStore(root, { readOnly: true });
    const { own } = store.mounted('one')!.directories();
    mkdirSync(join(own, 'new'));
    writeFileSync(join(own, 'new/file'), 'written\n');
    return own;
  };

  await t.test('reset of a read-write layer', (t) =>
    sweep(t, async (root) => {
      const parent = await withBase(root);
      const own = await changed(root, parent);
      const all = (): boolean => existsSync(join(own, 'new/file')) || readdirSync(own).length === 0;
      return {
        action: { action: 'reset', name: 'one' },
        kept: [parent],
        outcomes: [`one ${parent}`],
        holds: all,
      };
    }),
  );

  await t.test('commit of a read-write layer', (t) =>
    sweep(t, async (root) => {
      const parent = await withBase(root);
      const own = await changed(root, parent);
      const { store } = await openStore(root);
      const layer = await store.commitMounted('one');
      await store.release(layer!.chainId);
      store.close();
      const outcomes = [`one ${parent}`, ['one', parent, layer!.chainId].sort().join(' ')];
      return {
        action: { action: 'commit', name: 'one' },
        kept: [parent],
        outcomes,
        holds: () => existsSync(join(own, 'new/file')),
      };
    }),
  );

  await t.test('garbage collection', (t) =>
    sweep(t, async (root, directory) => {
      const parent = await withBase(root);
      writeFileSync(join(directory, 'top.tar'), top);
      const action: Action = { action: 'register', tars: [join(directory, 'top.tar')], parent };
      // Killed with all but the last step done.
      await killedInProcess(root, action, 6);
      return { action: { action: 'collect' }, kept: [], outcomes: [parent, ''] };
    }),
  );

  await t.test('a layer that outlived its killer is whole', async (t) => {
    const root = await workspace(t);
    const chainId = await withBase(root);
    const { store } = await openStore(root, { readOnly: true });
    t.ok((await contentOf(store.tar(chainId))).equals(base));
  });
}
