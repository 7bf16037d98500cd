/**
 * What was changed in a read-write layer, read from its own directory: the naive diff of two mounts
 * is the oracle, whatever was done, and by whom it was mounted.
 */
import {
  appendFileSync,
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { compareTrees } from '../../src/archive/changes.js';
import { drivers } from '../../src/graphdriver/drivers/index.js';
import type { DriverName } from '../../src/graphdriver/driver.js';
import type { Mounter } from '../../src/graphdriver/mounter.js';
import { naiveChanges } from '../../src/graphdriver/naive-diff.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { figure } from '../support/figures.js';
import { randomNumbers } from '../support/random-numbers.js';
import { kernel, unavailable } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';
import { contentOf, diffIdOf, isRoot, newStore, sourceOf, tarOf } from './fixture.js';

t.setTimeout(300_000);
const directory = { type: 'directory', mode: 0o755 } as const;

/** Names that the random changes use, in the image already or not. */
const names = ['a', 'b', 'etc', 'hosts', '\u00fc.wh'];

async function image(): Promise<readonly [Buffer, Buffer]> {
  const base: Record<string, string | typeof directory> = {};
  for (const name of names) {
    base[`${name}/`] = directory;
    for (const inner of names)
      base[`${name}/${inner}`] = inner === 'a' ? directory : `${name} ${inner}\n`;
    for (const inner of names) base[`${name}/a/${inner}`] = `${inner}\n`;
  }
  return [
    await tarOf(base),
    await tarOf({
      'a/.wh.b': '',
      'b/.wh..wh..opq': '',
      'b/b': 'of the second\n',
      'etc/a/hosts': 'changed\n',
    }),
  ];
}

/** Does something somewhere; what cannot be done is not. */
function change(mount: string, random: (below: number) => number): boolean {
  const path = (): string =>
    join(mount, ...Array.from({ length: 1 + random(3) }, () => names[random(names.length)]!));
  const one = path();
  const acts: readonly (() => void)[] = [
    () => writeFileSync(one, `new ${random(1000)}\n`),
    () => appendFileSync(one, 'more\n'),
    () => truncateSync(one, 1),
    () => mkdirSync(one),
    () => rmSync(one, { recursive: true }),
    () => rmSync(one, { recursive: true }),
    () => symlinkSync('../a', one),
    () => linkSync(one, path()),
    () => renameSync(one, path()),
    () => chmodSync(one, 0o700 + random(64)),
    () => chownSync(one, random(3), 5),
    () => utimesSync(one, random(1000), random(1000)),
    () => {
      rmSync(one, { recursive: true });
      mkdirSync(one);
    },
  ];
  try {
    acts[random(acts.length)]!();
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error) return false;
    throw error;
  }
}

const CHANGES = 300;

async function asTheNaiveDiff(
  t: Test,
  name: DriverName,
  mounter: Mounter['name'],
  seed: number,
): Promise<void> {
  const root = await workspace(t, 'root').then((base) => `${base}/root`);
  const driver = await drivers
    .find((each) => each.name === name)!
    .open({ home: join(root, name), readOnly: false, probe: true, options: [], mounter });
  const store = await LayerStore.open({ root, driver, readOnly: false });
  t.teardown(() => store.close());
  const [lower, upper] = await image();
  const below = await store.register(sourceOf(lower), undefined);
  const top = await store.register(sourceOf(upper), below.chainId);
  const random = randomNumbers(seed);
  let done = 0;
  const made = await store.createMounted('changed', top.chainId, { init: seed % 2 === 0 });
  const { path } = await store.mount('changed');
  for (let i = 0; i < CHANGES; i++) if (change(path, random)) done++;
  t.ok(done > CHANGES / 10, `${done} changes`);
  const found = await store.changes('changed');
  t.same(
    found.map(({ kind, path }) => `${kind} ${path}`),
    (await naiveChanges(driver, made.mountId, made.initId ?? top.cacheId)).map(
      ({ kind, path }) => `${kind} ${path}`,
    ),
    `the same changes (seed ${seed})`,
  );
  // While it is mounted.
  const committed = await store.commitMounted('changed');
  t.equal(diffIdOf(await contentOf(store.tar(committed!.chainId))), committed!.diffId);
  if (made.initId === undefined) {
    await store.createMounted('again', committed!.chainId, { init: false });
    const again = await store.mount('again');
    t.same(compareTrees(path, again.path), [], 'the layer made of it shows the same');
    await store.unmount('again');
  }
  await store.unmount('changed');
  figure(t, done, 'changes compared with the naive diff');
}

if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else {
  for (const [name, mounter, seeds] of [
    ['overlay2', 'fuse', [1, 2, 3]],
    ['overlay2', 'kernel', [1, 4]],
    ['fuse-overlayfs', 'fuse', [5]],
    ['aufs', 'fuse', [7]],
  ] as const) {
    await t.test(`${name} mounted by ${mounter}`, async (t) => {
      const why = mounter === 'kernel' ? await unavailable(t, kernel) : undefined;
      if (why !== undefined) return void t.pass(why, { skip: why });
      for (const seed of seeds) await asTheNaiveDiff(t, name, mounter, seed);
    });
  }

  for (const name of ['overlay2', 'fuse-overlayfs', 'aufs', 'vfs'] satisfies DriverName[]) {
    await t.test(`${name}: a layer without changes, and one that is reset`, async (t) => {
      const { store, root, driver } = await newStore(t, { name });
      const target = join(root, '../target');
      mkdirSync(target);
      const base = await store.register(
        sourceOf(await tarOf({ 'etc/': directory, 'etc/motd': 'hello\n', gone: 'x' })),
        undefined,
      );
      const { mountId } = await store.createMounted('one', base.chainId, { record: '{}' });
      t.same(await store.changes('one'), []);
      t.equal(await store.commitMounted('one'), undefined, 'an empty change makes no layer');
      t.same(
        store.layers().map(({ chainId }) => chainId),
        [base.chainId],
      );
      const { path } = await store.mount('one', { target });
      writeFileSync(join(path, 'etc/motd'), 'changed\n');
      rmSync(join(path, 'gone'));
      await t.rejects(store.resetMounted('one'), { code: 'layer-in-use' });
      await store.unmount('one');
      t.same(
        (await store.changes('one')).map(({ kind, path }) => `${kind} ${path}`),
        ['C /etc', 'C /etc/motd', 'D /gone'],
      );
      await store.resetMounted('one');
      t.same(await store.changes('one'), []);
      t.equal(store.mounted('one')!.mountId, mountId, 'it is the layer that it was');
      t.equal(store.mounted('one')!.record()?.toString(), '{}');
      const again = await store.mount('one', { target });
      t.equal(readFileSync(join(again.path, 'etc/motd'), 'utf8'), 'hello\n');
      writeFileSync(join(again.path, 'gone'), 'written again\n');
      await store.unmount('one');
      t.same(
        (await store.changes('one')).map(({ kind, path }) => `${kind} ${path}`),
        ['C /gone'],
      );
      t.same(driver.ids().length, 3, 'nothing is left of what was thrown away');
      t.same(await store.check({ deep: true }), [], root);
    });
  }
}
