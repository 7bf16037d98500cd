/**
 * Roots that nobody could have written by proper means: what is wrong is skipped and said, and
 * nothing outside is touched.
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { hexOf, type ChainId, type DiffId } from '../../src/base/digest.js';
import { newCacheId, randomId } from '../../src/base/ids.js';
import { linkLayers } from '../../src/layer/layer.js';
import type { StoredLayer } from '../../src/layer/metadata-store.js';
import { workspace } from '../suites/workspace.js';
import { chainOf, contentOf, isRoot, newStore, openStore, sourceOf, tarOf } from './fixture.js';

t.setTimeout(120_000);

/** From docker-layout's check value: two DiffIDs, and the chain that Docker made of them. */
const D0 = 'sha256:9f54eef412758095c8079ac465d494a2872e02e90bf1fb5f12a1641c0d1bb78b' as DiffId;
const D1 = 'sha256:b3cce2ce0405ffbb4971b872588c5b7fc840514b807f18047bf7d486af79884c' as DiffId;
const C1 = 'sha256:6613b10b697b0a267c9573ee23e54c0373ccf72e7991cf4479bd0b66609a631c' as ChainId;

type Files = Record<string, string>;

/** A layerdb written by hand. */
function layerIn(root: string, chainId: string, files: Files): string {
  const path = join(root, 'image/overlay2/layerdb/sha256', chainId.replace('sha256:', ''));
  mkdirSync(path, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content);
  return path;
}

const proper = (diff: DiffId, parent?: string): Files => ({
  diff,
  size: '7',
  'cache-id': randomId(),
  ...(parent === undefined ? {} : { parent }),
});

if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else {
  await t.test('ChainIDs are those that Docker makes', async (t) => {
    const root = await workspace(t);
    layerIn(root, D0, { ...proper(D0), diff: `${D0}\n` });
    layerIn(root, C1, proper(D1, `${D0}\n`));
    const { store } = await openStore(root, { readOnly: true });
    t.same(store.skipped, []);
    t.equal(store.get(C1)?.parent?.diffId, D0, 'white space around ids is nothing, as for Docker');
    t.notOk(existsSync(join(root, 'plyfs')), 'reading writes nothing');
  });

  await t.test('each kind of damage', async (t) => {
    const cases: Record<string, { reason: RegExp; make: (path: string, root: string) => void }> = {
      'no diff': { reason: /has no diff/, make: (path) => rmSync(join(path, 'diff')) },
      'no cache-id': { reason: /has no cache-id/, make: (path) => rmSync(join(path, 'cache-id')) },
      'an empty cache-id': {
        reason: /has a cache-id that is no such id/,
        make: (path) => truncateSync(join(path, 'cache-id')),
      },
      'a cache-id that leads out': {
        reason: /has a cache-id that is no such id/,
        make: (path) => writeFileSync(join(path, 'cache-id'), '../../etc'),
      },
      'no size': { reason: /has no size/, make: (path) => rmSync(join(path, 'size')) },
      'a size with a newline': {
        reason: /has a size that is not a decimal number/,
        make: (path) => writeFileSync(join(path, 'size'), '7\n'),
      },
      'a negative size': {
        reason: /has a size that is not a decimal number/,
        make: (path) => writeFileSync(join(path, 'size'), '-1'),
      },
      'another digest': {
        reason: /is not named by the ChainID/,
        make: (path) => writeFileSync(join(path, 'diff'), D1),
      },
      'a parent that does not belong': {
        reason: /is not named by the ChainID/,
        make: (path) => writeFileSync(join(path, 'parent'), C1),
      },
      'itself as parent': {
        reason: /is not named by the ChainID/,
        make: (path) => writeFileSync(join(path, 'parent'), D0),
      },
      'an id in capitals': {
        reason: /has a diff that is no such id/,
        make: (path) => writeFileSync(join(path, 'diff'), D0.toUpperCase()),
      },
      'a huge file': {
        reason: /has a diff that is a file of more than 1024 bytes/,
        make: (path) => truncateSync(join(path, 'diff'), 2 ** 40),
      },
      'a link for a file': {
        reason: /has a diff that is a symbolic link/,
        make: (path, root) => {
          renameSync(join(path, 'diff'), join(root, 'elsewhere'));
          symlinkSync(join(root, 'elsewhere'), join(path, 'diff'));
        },
      },
      'a fifo for a file': {
        reason: /has a diff that is a FIFO/,
        make: (path) => {
          rmSync(join(path, 'diff'));
          execFileSync('mkfifo', [join(path, 'diff')]);
        },
      },
      'a directory for a file': {
        reason: /has a diff that is a directory/,
        make: (path) => {
          rmSync(join(path, 'diff'));
          mkdirSync(join(path, 'diff'));
        },
      },
      'a descriptor that is no JSON': {
        reason: /has a descriptor.json that is not JSON/,
        make: (path) => writeFileSync(join(path, 'descriptor.json'), '{'),
      },
      'a link for the directory': {
        reason: /is not a directory/,
        make: (path, root) => {
          renameSync(path, join(root, 'elsewhere'));
          symlinkSync(join(root, 'elsewhere'), path);
        },
      },
    };
    for (const [name, { reason, make }] of Object.entries(cases)) {
      await t.test(name, async (t) => {
        const root = await workspace(t);
        const path = layerIn(root, D0, proper(D0));
        layerIn(root, C1, proper(D1, D0));
        make(path, root);
        const { store } = await openStore(root, { readOnly: true });
        t.same(store.layers(), [], 'nor what is on top of it');
        t.match(store.skipped, [
          { path: join(root, 'image/overlay2/layerdb/sha256', hexOf(C1)), reason },
          { path, reason },
        ]);
      });
    }
  });

  await t.test('names that are no ids are nobody’s, and missing parents are told', async (t) => {
    const root = await workspace(t);
    for (const name of ['abc', '..', `${hexOf(D0)}x`, `${hexOf(D0)}-${randomId()}-removing`])
      layerIn(root, name, proper(D0));
    layerIn(root, C1, proper(D1, D0));
    const { store } = await openStore(root, { readOnly: true });
    t.same(store.layers(), []);
    t.match(store.skipped, [{ reason: new RegExp(`needs the layer ${D0}, which is not there`) }]);
  });

  await t.test('a chain deeper than the stack', async (t) => {
    const stored = new Map<ChainId, StoredLayer>();
    let parent: ChainId | undefined;
    for (let depth = 0; depth < 100_000; depth++) {
      const chainId: ChainId =
        parent === undefined ? (D0 as string as ChainId) : chainOf(parent, D0);
      stored.set(chainId, { chainId, diffId: D0, parent, size: 0, cacheId: newCacheId() });
      parent = chainId;
    }
    const topFirst = new Map([...stored].reverse());
    t.equal(linkLayers(topFirst, new Map()).layers.get(parent!)?.depth, 100_000);
    topFirst.delete(D0 as string as ChainId);
    t.equal(
      linkLayers(topFirst, new Map()).skipped.size,
      99_999,
      'all that is on top of what is missing',
    );
  });

  await t.test('mounts', async (t) => {
    const root = await workspace(t);
    layerIn(root, D0, proper(D0));
    const mount = (name: string, files: Files): void => {
      const path = join(root, 'image/overlay2/layerdb/mounts', name);
      mkdirSync(path, { recursive: true });
      for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), content);
    };
    const id = randomId();
    mount('good', { 'mount-id': id, 'init-id': `${id}-init`, parent: D0 });
    mount('plain', { 'mount-id': randomId() });
    mount('none', {});
    mount('wrong', { 'mount-id': '../../../etc', parent: D0 });
    mount('orphan', { 'mount-id': randomId(), parent: C1 });
    const { store } = await openStore(root, { readOnly: true });
    t.same(
      store
        .mountedLayers()
        .map(({ name, mountId, initId, parent }) => [
          name,
          mountId === id,
          initId === `${id}-init`,
          parent?.chainId,
        ]),
      [
        ['good', true, true, D0],
        ['plain', false, false, undefined],
      ],
    );
    t.match(
      store.skipped.map(({ reason }) => reason),
      [/has no mount-id/, /needs the layer .* not there/, /has a mount-id that is no such id/],
    );
  });

  await t.test('a layerdb that leads elsewhere is no layerdb', async (t) => {
    for (const name of ['sha256', 'mounts', 'tmp']) {
      const root = await workspace(t, 'image/overlay2/layerdb', 'elsewhere');
      symlinkSync(join(root, 'elsewhere'), join(root, 'image/overlay2/layerdb', name));
      await t.rejects(openStore(root), { code: 'root-damaged' });
      await t.rejects(openStore(root, { readOnly: true }), { code: 'root-damaged' });
    }
  });

  await t.test(
    'two layers that name one directory of the driver: it stays as long as one does',
    async (t) => {
      const { store, root, driver } = await newStore(t);
      const tar = await tarOf({ file: 'content\n' });
      const layer = await store.register(sourceOf(tar), undefined);
      layerIn(root, D0, { ...proper(D0), 'cache-id': layer.cacheId });
      store.refresh();
      const findings = await store.check();
      t.same(findings.filter(({ code }) => code === 'directory-shared').length, 2);
      store.acquire(D0 as string as ChainId);
      t.equal((await store.release(D0 as string as ChainId)).length, 1);
      t.ok(driver.exists(layer.cacheId));
      t.ok((await contentOf(store.tar(layer.chainId))).equals(tar));
    },
  );

  await t.test(
    'a layer that cannot be loaded is replaced when it is registered again',
    async (t) => {
      const { store, root, driver } = await newStore(t);
      const tar = await tarOf({ file: 'content\n' });
      const layer = await store.register(sourceOf(tar), undefined);
      const path = join(root, 'image/overlay2/layerdb/sha256', hexOf(layer.chainId));
      rmSync(join(path, 'size'));
      store.refresh();
      t.equal(store.get(layer.chainId), undefined);
      const again = await store.register(sourceOf(tar), undefined);
      t.not(again.cacheId, layer.cacheId);
      t.same(driver.ids(), [again.cacheId]);
      t.same(await store.check({ deep: true }), []);

      // With a layer on top, its short name in the driver's home is needed.
      const child = await store.register(sourceOf(await tarOf({ other: '' })), again.chainId);
      rmSync(join(path, 'size'));
      store.refresh();
      await t.rejects(store.register(sourceOf(tar), undefined), { code: 'layer-damaged' });
      t.ok(existsSync(join(path, 'diff')));
      t.ok(driver.exists(child.cacheId));
    },
  );

  await t.test('a tar-split or a file that is not what it was', async (t) => {
    const { store, root, driver } = await newStore(t);
    const tar = await tarOf({
      file: 'content\n',
      link: { type: 'symlink', linkname: '/etc/passwd' },
    });
    const layer = await store.register(sourceOf(tar), undefined);
    const { own } = driver.directories(layer.cacheId);
    const codes = async (deep: boolean): Promise<string[]> =>
      (await store.check({ deep })).map(({ code }) => code);
    t.same(await codes(true), []);

    writeFileSync(join(own, 'file'), 'CONTENT\n');
    t.same(await codes(false), [], 'only the deep check reads files');
    t.same(await codes(true), ['content-damaged']);
    await t.rejects(contentOf(store.tar(layer.chainId)), { code: 'layer-damaged' });
    rmSync(join(own, 'file'));
    symlinkSync('/etc/hostname', join(own, 'file'));
    t.same(await codes(true), ['content-damaged'], 'and follows no link');
    rmSync(join(own, 'file'));
    writeFileSync(join(own, 'file'), 'content\n');
    t.same(await codes(true), []);

    const split = join(
      root,
      'image/overlay2/layerdb/sha256',
      hexOf(layer.chainId),
      'tar-split.json.gz',
    );
    const whole = readFileSync(split);
    const { gzipSync } = await import('node:zlib');
    for (const [what, bytes] of Object.entries({
      'half of it': whole.subarray(0, whole.length / 2),
      'no gzip': Buffer.from('{}'),
      'no JSON': gzipSync('hello\n'),
    })) {
      writeFileSync(split, bytes);
      t.same(await codes(false), ['tar-split-damaged'], what);
    }
    writeFileSync(split, gzipSync('{"type":2,"payload":"","position":0}\n'));
    t.same(await codes(true), ['content-damaged'], 'one that says something else');
    await t.rejects(contentOf(store.tar(layer.chainId)), { code: 'layer-damaged' });
    rmSync(split);
    execFileSync('mkfifo', [split]);
    t.same(await codes(false), ['tar-split-damaged'], 'and a fifo is not waited for');
  });

  await t.test('links of the driver that lead elsewhere', async (t) => {
    const { store, root } = await newStore(t);
    const base = await store.register(sourceOf(await tarOf({ base: '' })), undefined);
    const other = await store.register(sourceOf(await tarOf({ other: '' })), undefined);
    const top = await store.register(sourceOf(await tarOf({ top: '' })), base.chainId);
    const home = join(root, 'overlay2');
    const short = (id: string): string => readFileSync(join(home, id, 'link'), 'latin1');
    const findings = async (): Promise<unknown[]> =>
      (await store.check()).map(({ code, chainId }) => [code, chainId]);
    t.same(await findings(), []);
    writeFileSync(join(home, top.cacheId, 'lower'), `l/${short(other.cacheId)}`);
    t.same(await findings(), [['parents-differ', top.chainId]]);
    writeFileSync(join(home, top.cacheId, 'lower'), 'l/AAAAAAAAAAAAAAAAAAAAAAAAAA');
    t.same(await findings(), [['directory-damaged', top.chainId]]);
    writeFileSync(join(home, top.cacheId, 'lower'), `l/${short(base.cacheId)}`);
    renameSync(join(home, other.cacheId), join(root, 'aside'));
    t.same(await findings(), [['directory-missing', other.chainId]]);
  });
}
