/**
 * A root on which dockerd runs is not written to. dockerd's databases are locked with flock(2), as
 * by bbolt; here flock(1) does that.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { isRoot, newStore, openStore, sourceOf, tarOf } from './fixture.js';

t.setTimeout(60_000);

/** Locks the file as another process until the test ends, or `unlock` is called. */
async function lockedElsewhere(t: Test, path: string): Promise<() => Promise<void>> {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '', { flag: 'a' });
  const child = spawn('flock', ['--exclusive', '--no-fork', path, 'sh', '-c', 'echo; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const unlock = async (): Promise<void> => {
    child.stdin.end();
    await ended;
  };
  t.teardown(unlock);
  await once(child.stdout, 'data');
  return unlock;
}

if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else {
  const tar = await tarOf({ file: '' });

  for (const database of [
    'volumes/metadata.db',
    'network/files/local-kv.db',
    'buildkit/snapshots.db',
  ]) {
    await t.test(`${database} is locked`, async (t) => {
      const { store, root, driver } = await newStore(t);
      const { chainId } = await store.register(sourceOf(tar), undefined);
      const unlock = await lockedElsewhere(t, join(root, database));
      await t.rejects(openStore(root), { code: 'root-in-use' });
      t.ok((await openStore(root, { readOnly: true })).store.get(chainId), 'reading is possible');
      await t.rejects(store.register(sourceOf(await tarOf({ other: '' })), chainId), {
        code: 'root-in-use',
      });
      await t.rejects(store.createMounted('one', chainId), { code: 'root-in-use' });
      await t.rejects(store.release(chainId), { code: 'root-in-use' });
      await t.rejects(store.collectGarbage(), { code: 'root-in-use' });
      await unlock();
      t.equal(driver.ids().length, 1);
      t.equal((await store.release(chainId)).length, 1, 'the reference was not lost');
    });
  }

  await t.test('dockerd is started while a layer is being made', async (t) => {
    const { store, root, driver } = await newStore(t);
    let unlock: (() => Promise<void>) | undefined;
    const source = (async function* () {
      yield tar;
      unlock = await lockedElsewhere(t, join(root, 'volumes/metadata.db'));
    })();
    await t.rejects(store.register(source, undefined), { code: 'root-in-use' });
    await unlock?.();
    store.refresh();
    t.same(store.layers(), []);
    t.same(driver.ids(), []);
    t.same(store.garbage(), []);
  });

  await t.test('databases that nobody locks, and what only looks like one', async (t) => {
    const { store, root } = await newStore(t);
    mkdirSync(join(root, 'volumes'));
    writeFileSync(join(root, 'volumes/metadata.db'), '');
    mkdirSync(join(root, 'buildkit/cache.db'), { recursive: true });
    symlinkSync('nowhere', join(root, 'buildkit/snapshots.db'));
    t.equal((await store.register(sourceOf(tar), undefined)).depth, 1);
    const { store: other } = await openStore(root);
    other.close();
  });
}
