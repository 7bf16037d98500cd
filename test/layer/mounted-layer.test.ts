import { spawn } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { DriverName } from '../../src/graphdriver/driver.js';
import { run, succeed } from '../support/command.js';
import { whileFailing } from '../support/failing-call.js';
import { mountAt } from '../support/mounts.js';
import { inProcess } from './processes.js';
import { isRoot, newStore, openStore, sourceOf, tarOf } from './fixture.js';

t.setTimeout(300_000);
const directory = (mode = 0o755) => ({ type: 'directory', mode }) as const;

if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else {
  await t.test('a read-write layer is on disk as Docker writes it', async (t) => {
    const { store, driver, root } = await newStore(t);
    const image = await store.register(sourceOf(await tarOf({ file: 'image\n' })), undefined);
    const mounted = await store.createMounted('one', image.chainId);
    const mounts = join(root, 'image/overlay2/layerdb/mounts');
    const file = (name: string): string => readFileSync(join(mounts, 'one', name), 'latin1');
    t.same(readdirSync(join(mounts, 'one')).sort(), ['init-id', 'mount-id', 'parent']);
    t.match(file('mount-id'), /^[0-9a-f]{64}$/);
    t.equal(file('init-id'), `${file('mount-id')}-init`);
    t.equal(file('parent'), image.chainId);
    t.equal(statSync(join(mounts, 'one')).mode & 0o7777, 0o755);
    const { own, below, work } = mounted.directories();
    t.same(below, [driver.directories(mounted.initId!).own, driver.directories(image.cacheId).own]);
    t.ok(work);
    t.same(readdirSync(own), []);
    t.equal(store.references(image.chainId), 2);

    await t.rejects(store.createMounted('one', image.chainId), { code: 'mount-exists' });
    await t.rejects(store.createMounted('../one', image.chainId), { code: 'mount-name-invalid' });
    const { store: other } = await openStore(root, { readOnly: true });
    t.equal(other.mounted('one')?.mountId, mounted.mountId);

    t.same(await store.release(image.chainId), [], 'the container needs it');
    await t.rejects(store.releaseMounted('two'), { code: 'mount-missing' });
    t.same(
      (await store.releaseMounted('one')).map(({ chainId }) => chainId),
      [image.chainId],
      'and after it nobody does',
    );
    t.same(readdirSync(mounts), []);
    t.same(driver.ids(), []);
    t.same(store.garbage(), []);
  });

  await t.test('without an init layer, and without a parent', async (t) => {
    const { store } = await newStore(t);
    const image = await store.register(sourceOf(await tarOf({ file: 'image\n' })), undefined);
    const plain = await store.createMounted('plain', image.chainId, { init: false });
    t.equal(plain.initId, undefined);
    t.equal(plain.directories().below.length, 1);
    const scratch = await store.createMounted('scratch', undefined);
    t.equal(scratch.parent, undefined);
    t.same(await store.check({ deep: true }), []);
  });

  /** An image that would have its container's mount points lead elsewhere, or in its way. */
  const image = {
    'dev/': directory(0o700),
    'dev/console': { type: 'symlink', linkname: '/outside/console' },
    etc: { type: 'symlink', linkname: '/outside' },
    'proc/': directory(0o555),
    'proc/child': 'hidden or not\n',
    sys: 'a file\n',
    '.dockerenv': { type: 'symlink', linkname: '/outside/env' },
  } as const;
  for (const name of ['overlay2', 'fuse-overlayfs', 'aufs', 'vfs'] satisfies DriverName[]) {
    await t.test(`what an init layer shows, on ${name}`, async (t) => {
      const { store, root } = await newStore(t, { name });
      const below = await store.register(
        sourceOf(
          await tarOf({ 'dev/': directory(), 'dev/old': '', 'etc/': directory(), 'etc/old': '' }),
        ),
        undefined,
      );
      const top = await store.register(sourceOf(await tarOf(image)), below.chainId);
      await store.createMounted('one', top.chainId);
      const { path } = await store.mount('one');
      t.teardown(() => store.unmount('one'));
      const kindOf = (file: string): string => {
        const stat = lstatSync(join(path, file));
        const kind = stat.isDirectory()
          ? 'directory'
          : stat.isSymbolicLink()
            ? readlinkSync(join(path, file))
            : `${stat.size} bytes`;
        return stat.isSymbolicLink()
          ? kind
          : `${kind} ${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid}`;
      };
      const expected: Record<string, string> = {
        dev: 'directory 700 0:0',
        'dev/pts': 'directory 755 0:0',
        'dev/shm': 'directory 755 0:0',
        'dev/console': '0 bytes 755 0:0',
        'dev/old': '0 bytes 644 0:0',
        etc: 'directory 755 0:0',
        'etc/resolv.conf': '0 bytes 755 0:0',
        'etc/hosts': '0 bytes 755 0:0',
        'etc/hostname': '0 bytes 755 0:0',
        'etc/mtab': '/proc/mounts',
        proc: 'directory 555 0:0',
        'proc/child': '14 bytes 644 0:0',
        sys: 'directory 755 0:0',
        '.dockerenv': '0 bytes 755 0:0',
      };
      for (const [file, kind] of Object.entries(expected)) t.equal(kindOf(file), kind, file);
      t.same(
        readdirSync(join(path, 'etc')).sort(),
        ['hostname', 'hosts', 'mtab', 'resolv.conf'],
        'nothing from below the link',
      );
      t.notOk(existsSync(join(root, '../outside')));
    });
  }

  await t.test(
    'a file where the image deleted a directory, and a directory where a file goes',
    async (t) => {
      const { store } = await newStore(t);
      const below = await store.register(
        sourceOf(
          await tarOf({ 'etc/': directory(), 'etc/old': '', 'proc/': directory(), 'proc/old': '' }),
        ),
        undefined,
      );
      const top = await store.register(
        sourceOf(
          await tarOf({
            '.wh.etc': '',
            'proc/': directory(),
            'proc/.wh..wh..opq': '',
            'dev/console/': directory(0o711),
          }),
        ),
        below.chainId,
      );
      await store.createMounted('one', top.chainId);
      const { path } = await store.mount('one');
      t.teardown(() => store.unmount('one'));
      t.notOk(existsSync(join(path, 'etc/old')));
      t.same(readdirSync(join(path, 'proc')), []);
      t.equal(
        statSync(join(path, 'dev/console')).mode & 0o7777,
        0o711,
        'a directory stays, as Docker leaves it',
      );
    },
  );

  const withMountpoint = async (t: Test) => {
    const opened = await newStore(t);
    const layer = await opened.store.register(
      sourceOf(await tarOf({ file: 'image\n' })),
      undefined,
    );
    const target = join(opened.root, '../target');
    mkdirSync(target);
    return { ...opened, layer, target };
  };

  for (const [what, call] of [
    ['cannot be renamed into its place', 'renameSync'],
    ['is not flushed there', 'fsyncSync'],
  ] as const) {
    await t.test(`what ${what} is not there, nor what was made for it`, async (t) => {
      const { store, driver, root } = await newStore(t);
      const layerdb = join(root, 'image/overlay2/layerdb');
      const fails = (place: string) => (first: string, second?: string) =>
        call === 'renameSync' ? second?.startsWith(place) === true : first === place;
      const tar = await tarOf({ file: 'x' });
      await t.rejects(
        whileFailing(call, fails(join(layerdb, 'sha256')), () =>
          store.register(sourceOf(tar), undefined),
        ),
        { code: 'EIO' },
      );
      t.same(store.layers(), []);
      t.same(driver.ids(), []);
      const { chainId } = await store.register(sourceOf(tar), undefined);
      const ids = driver.ids();
      const seen: string[][] = [];
      const look = (): void => void seen.push(readdirSync(join(layerdb, 'mounts')));
      subscribe('plyfs:layer-store', look);
      await t.rejects(
        whileFailing(call, fails(join(layerdb, 'mounts')), () =>
          store.createMounted('one', chainId, { record: '{}' }),
        ),
        { code: 'EIO' },
      );
      unsubscribe('plyfs:layer-store', look);
      t.ok(seen.length > 3);
      t.same(seen.flat(), [], 'nor is it there while what was made is taken away');
      t.equal(store.mounted('one'), undefined);
      t.same(driver.ids(), ids);
      t.same(readdirSync(join(root, 'plyfs/containers/overlay2')), [], 'no record');
      t.same(readdirSync(join(layerdb, 'tmp')), []);
      t.equal(store.references(chainId), 1, 'only the test’s own');
      t.same(store.garbage(), []);
      await store.createMounted('one', chainId, { record: '{}' });
      t.equal(store.mounted('one')?.record()?.toString(), '{}');
    });
  }

  await t.test('mounted by one process, unmounted by another', async (t) => {
    const { store, root, layer, target } = await withMountpoint(t);
    await store.createMounted('one', layer.chainId);
    t.match(await inProcess(root, { action: 'mount', name: 'one', target }), {
      result: { path: target, by: 'fuse' },
    });
    writeFileSync(join(target, 'new'), 'written\n');
    t.same(
      await store.shown(),
      [{ target, readOnly: false, alive: true, name: 'one' }],
      'the mount outlives who made it',
    );
    await t.rejects(store.mount('one', { target: join(root, '..') }), { code: 'layer-in-use' });
    await t.rejects(store.releaseMounted('one'), { code: 'layer-in-use' });
    t.ok(store.mounted('one'), 'still there');
    await store.unmount('one');
    t.equal(mountAt(target), undefined);
    await t.rejects(store.unmount('one'), { code: 'not-mounted' });

    t.match(await store.mount('one', { target, readOnly: true }), { path: target });
    t.equal(readFileSync(join(target, 'new'), 'utf8'), 'written\n', 'what was written stays');
    t.equal((await run(['touch', join(target, 'other')])).status, 1, 'read-only');
    await store.unmountAt(target);
    await t.rejects(store.unmountAt(target), { code: 'not-mounted' });
    await inProcess(root, { action: 'remove', name: 'one' });
    t.same(await store.check({ deep: true }), []);
  });

  await t.test('a mount whose daemon died is seen, and mounted anew', async (t) => {
    const { store, root, layer, target } = await withMountpoint(t);
    await store.createMounted('one', layer.chainId);
    await inProcess(root, { action: 'mount', name: 'one', target });
    writeFileSync(join(target, 'new'), 'written\n');
    await succeed(['sync', '-f', target]);
    // Somebody stands in it, so that it cannot be unmounted in the usual way.
    const inside = spawn('sleep', ['infinity'], { cwd: target });
    t.teardown(() => inside.kill('SIGKILL'));
    await killDaemonOf(target);
    t.same(await store.shown(), [{ target, readOnly: false, alive: false, name: 'one' }]);
    await store.mount('one', { target });
    t.equal(readFileSync(join(target, 'new'), 'utf8'), 'written\n');
    await killDaemonOf(target);
    await store.releaseMounted('one');
    t.equal(mountAt(target), undefined, 'what was dead is unmounted');
  });

  await t.test('a read-only layer is not deleted while it is shown', async (t) => {
    const { store, root, layer, target } = await withMountpoint(t);
    await inProcess(root, { action: 'mount-read-only', chainId: layer.chainId, target });
    t.equal(readFileSync(join(target, 'file'), 'utf8'), 'image\n');
    t.same(await store.shown(), [{ target, readOnly: true, alive: true, chainId: layer.chainId }]);
    t.equal((await run(['touch', join(target, 'new')])).status, 1);
    t.same(await store.release(layer.chainId), []);
    const { store: reader } = await openStore(root, { readOnly: true });
    const second = join(root, '../second');
    mkdirSync(second);
    await reader.mountReadOnly(layer.chainId, { target: second });
    t.equal(
      readFileSync(join(second, 'file'), 'utf8'),
      'image\n',
      'also from a root that is open for reading',
    );
    await reader.unmountAt(second);
    await reader.unmountAt(target);
    store.addHolder(() => []);
    t.match(await store.collectGarbage(), {
      removed: [{ kind: 'layer', chainId: layer.chainId }],
      failed: [],
    });
  });

  await t.test('a limit where none can be kept', async (t) => {
    const { store, driver } = await newStore(t);
    await t.rejects(store.createMounted('one', undefined, { size: 1 << 20 }), {
      code: 'option-unsupported',
    });
    t.same(store.mountedLayers(), []);
    t.same(driver.ids(), [], 'nothing is left, the init layer neither');
  });
}

/** The process that serves the mount, ended as by the kernel when memory is short. */
async function killDaemonOf(target: string): Promise<void> {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    let words: string[];
    try {
      words = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
    } catch {
      continue;
    }
    if (words.includes(target) && words.some((word) => word.endsWith('plyfs.js')))
      process.kill(Number(entry), 'SIGKILL');
  }
  while ((await run(['stat', '-f', target])).status === 0);
}
