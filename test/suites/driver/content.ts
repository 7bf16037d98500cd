/** What layers hold: from a tar onto the disk, through a mount, and into a tar again. */
import { statSync } from 'node:fs';
import { S_IFCHR, S_IFIFO } from '../constants.js';
import { sameTree } from '../tree.js';
import type { TarEntry } from '../../support/layer-tar.js';
import { id, type DriverCases, type DriverScene } from './scene.js';

const isRoot = process.getuid?.() === 0;
/**
 * VFS_CAP_REVISION_2 with CAP_NET_RAW permitted and effective (linux/capability.h), as setcap(8)
 * writes it.
 */
const NET_RAW = Buffer.from('0100000200200000000000000000000000000000', 'hex');

const base: readonly TarEntry[] = [
  { name: 'bin/', type: 'directory', mode: 0o755 },
  { name: 'bin/tool', mode: 0o4755, uid: isRoot ? 7 : 0, gid: isRoot ? 8 : 0, content: 'tool' },
  {
    name: 'bin/same',
    type: 'link',
    linkname: 'bin/tool',
    mode: 0o4755,
    uid: isRoot ? 7 : 0,
    gid: isRoot ? 8 : 0,
  },
  {
    name: 'bin/ping',
    mode: 0o755,
    content: 'ping',
    pax: { 'SCHILY.xattr.security.capability': NET_RAW.toString('latin1') },
  },
  { name: 'etc/', type: 'directory', mode: 0o755 },
  { name: 'etc/hosts', content: 'localhost' },
  { name: 'etc/passwd', content: 'root' },
  { name: 'etc/noted', content: 'x', pax: { 'SCHILY.xattr.user.note': 'kept' } },
  { name: 'etc/link', type: 'symlink', linkname: '../../../../outside' },
  { name: 'data/', type: 'directory', mode: 0o700 },
  { name: 'data/old', content: 'old' },
  { name: 'data/deep/', type: 'directory', mode: 0o755 },
  { name: 'data/deep/file', content: 'deep' },
  { name: 'gone/', type: 'directory', mode: 0o755 },
  { name: 'gone/file', content: 'x' },
  { name: 'dev/', type: 'directory', mode: 0o755 },
  { name: 'dev/pipe', type: 'fifo', mode: 0o640 },
  ...(isRoot
    ? [
        {
          name: 'dev/null',
          type: 'character-device',
          mode: 0o666,
          devmajor: 1,
          devminor: 3,
        } as const,
      ]
    : []),
];

/**
 * Deletes a file, one of two names, and a whole directory; replaces what a directory holds; changes
 * a file.
 */
const middle: readonly TarEntry[] = [
  { name: 'etc/', type: 'directory', mode: 0o755 },
  { name: 'etc/.wh.hosts' },
  { name: 'etc/passwd', content: 'root, and me' },
  { name: 'bin/', type: 'directory', mode: 0o755 },
  { name: 'bin/.wh.same' },
  { name: '.wh.gone' },
  { name: 'data/', type: 'directory', mode: 0o711 },
  // Last in its directory, where tars of some tools have it.
  { name: 'data/new', content: 'new' },
  { name: 'data/.wh..wh..opq' },
];

async function threeLayers(scene: DriverScene): Promise<void> {
  await scene.add(id(1), undefined, base);
  await scene.add(id(2), id(1), middle);
  await scene.driver.createReadWrite(id(3), id(2));
}

async function work(scene: DriverScene): Promise<void> {
  await scene.with(id(3), false, async (_path, actor) => {
    await actor.unlink('etc/passwd');
    await actor.put('etc/motd', 'hello');
    await actor.link('etc/motd', 'etc/motd2');
    await actor.chmod('bin/tool', 0o700);
    await actor.rename('data/new', 'data/renamed');
    await actor.unlink('bin/ping');
    await actor.mkdir('bin/ping');
    await actor.unlink('data/renamed');
    await actor.rmdir('data');
    await actor.mkdir('data');
    await actor.put('data/again', 'again');
    await actor.mkdir('added');
    await actor.mkdir('added/below');
    await actor.mknod('added/pipe', S_IFIFO | 0o600);
    await actor.symlink('/etc', 'added/link');
    // Docker's comparison does not look at xattrs.
    await actor.put('etc/noted', 'changed');
    await actor.setxattr('etc/noted', 'user.note', 'changed');
  });
}

export const contentCases: DriverCases = {
  'a layer shows what its tar holds': async (scene) => {
    const { t } = scene;
    await scene.add(id(1), undefined, base);
    await scene.with(id(1), true, async (_path, actor) => {
      const tool = await actor.stat('bin/tool');
      t.match(
        [tool.mode & 0o7777, tool.nlink, tool.mtime],
        [0o4755, 2, 1_600_000_000_000_000_000n],
      );
      if (isRoot) t.same([tool.uid, tool.gid], [7, 8]);
      t.equal((await actor.stat('bin/same')).ino, tool.ino, 'one file of two names');
      t.equal(
        Buffer.from(await actor.getxattr('etc/noted', 'user.note'), 'latin1').toString(),
        'kept',
      );
      if (isRoot)
        t.equal(
          Buffer.from(await actor.getxattr('bin/ping', 'security.capability'), 'latin1').toString(
            'hex',
          ),
          NET_RAW.toString('hex'),
        );
      t.equal(await actor.readlink('etc/link'), '../../../../outside');
      t.equal((await actor.stat('data')).mode & 0o7777, 0o700);
      t.equal((await actor.lstat('dev/pipe')).mode, S_IFIFO | 0o640);
      if (isRoot) t.match(await actor.lstat('dev/null'), { mode: S_IFCHR | 0o666, rdev: '1:3' });
    });
  },

  'whiteouts and opaque directories of a layer hide what lies below, and are not shown': async (
    scene,
  ) => {
    await threeLayers(scene);
    const shown = [
      'bin/',
      'bin/ping',
      'bin/tool',
      'data/',
      'data/new',
      'dev/',
      ...(isRoot ? ['dev/null'] : []),
      'dev/pipe',
      'etc/',
      'etc/link',
      'etc/noted',
      'etc/passwd',
    ];
    scene.t.same(await scene.paths(id(2)), shown);
    scene.t.same(await scene.paths(id(3)), shown);
    await scene.with(id(2), true, async (_path, actor) => {
      scene.t.equal(await actor.get('etc/passwd'), 'root, and me');
      scene.t.equal((await actor.stat('data')).mode & 0o7777, 0o711);
    });
  },

  'changes are what was done': async (scene) => {
    await threeLayers(scene);
    await work(scene);
    scene.t.same(await scene.changes(id(3), id(2)), [
      'A /added',
      'A /added/below',
      'A /added/link',
      'A /added/pipe',
      'C /bin',
      'C /bin/ping',
      'C /bin/tool',
      'C /data',
      'A /data/again',
      'D /data/new',
      'C /etc',
      'A /etc/motd',
      'A /etc/motd2',
      'C /etc/noted',
      'D /etc/passwd',
    ]);
  },

  'changes to a layer further down, and to nothing': async (scene) => {
    await threeLayers(scene);
    const toBase = await scene.changes(id(3), id(1));
    for (const line of [
      'D /gone',
      'D /etc/hosts',
      'C /etc/passwd',
      'A /data/new',
      'D /data/old',
      'D /bin/same',
    ])
      scene.t.ok(toBase.includes(line), line);
    const all = await scene.changes(id(3), undefined);
    scene.t.ok(
      all.includes('A /data/new') && all.every((line) => line.startsWith('A ')),
      'everything was added to nothing',
    );
    scene.t.same(await scene.changes(id(2), id(2)), [], 'and nothing to itself');
  },

  'the tar of a difference, applied, shows the same': async (scene) => {
    await threeLayers(scene);
    await work(scene);
    await scene.apply(id(4), id(2), await scene.diff(id(3), id(2)));
    sameTree(scene.t, await scene.shown(id(4)), await scene.shown(id(3)), 'over its parent');
    await scene.apply(id(5), id(1), await scene.diff(id(3), id(1)));
    sameTree(
      scene.t,
      await scene.shown(id(5)),
      await scene.shown(id(3)),
      'over the layer below that',
    );
    await scene.apply(id(6), undefined, await scene.diff(id(3), undefined));
    sameTree(scene.t, await scene.shown(id(6)), await scene.shown(id(3)), 'over nothing');
  },

  'the difference of a layer that is mounted can be had': async (scene) => {
    await threeLayers(scene);
    const { path } = await scene.driver.get(id(3));
    const actor = await scene.actor(path);
    await actor.put('etc/late', 'x');
    const other = await scene.open();
    scene.t.same(
      (await other.changes(id(3), id(2))).map((change) => `${change.kind} ${change.path}`),
      ['C /etc', 'A /etc/late'],
    );
    await actor.end();
    await scene.driver.put(id(3));
  },

  'sizes: of a tar applied, and of what was written': async (scene) => {
    const { driver, t } = scene;
    const size = await scene.add(id(1), undefined, [
      { name: 'a', content: 'x'.repeat(1000) },
      { name: 'b', type: 'link', linkname: 'a' },
      { name: 'd/', type: 'directory' },
      { name: 'd/c', content: 'y'.repeat(24) },
    ]);
    t.equal(size, 1024);
    await driver.createReadWrite(id(2), id(1));
    t.equal(await driver.diffSize(id(2), id(1)), 0);
    await scene.with(id(2), false, (_path, actor) => actor.put('d/new', 'z'.repeat(76)));
    t.equal(await driver.diffSize(id(2), id(1)), 76);
  },

  'a layer like its parent is one of its own': async (scene) => {
    await scene.add(id(1), undefined, base);
    await scene.driver.createReadWrite(id(2), id(1));
    await scene.with(id(2), false, async (_path, actor) => {
      await actor.chmod('data', 0o755);
      await actor.truncate('bin/tool', 0);
    });
    await scene.with(id(1), true, async (_path, actor) => {
      scene.t.equal(await actor.get('bin/tool'), 'tool');
      scene.t.equal((await actor.stat('data')).mode & 0o7777, 0o700);
    });
  },

  'a tar whose links lead out of the layer changes nothing outside': async (scene) => {
    const { t, base } = scene;
    const outside = await scene.actor(base);
    await outside.put('outside', 'untouched');
    const before = statSync(`${base}/outside`, { bigint: true });
    await scene.driver.create(id(1), undefined);
    await scene.driver.remove(id(1));
    await scene
      .add(id(1), undefined, [
        { name: 'out', type: 'symlink', linkname: base },
        { name: 'out/outside', content: 'overwritten' },
        { name: 'out/made', content: 'x' },
      ])
      .catch(() => undefined);
    t.equal(await outside.get('outside'), 'untouched');
    t.equal(statSync(`${base}/outside`, { bigint: true }).ctimeNs, before.ctimeNs);
    t.notOk((await outside.names()).includes('made'));
    await outside.end();
  },

  'a chain of 125 layers': async (scene) => {
    const { driver, t } = scene;
    const depth = 125;
    for (let i = 1; i <= depth; i++) {
      await scene.add(id(i), i === 1 ? undefined : id(i - 1), [
        { name: `only-${i}`, content: `${i}` },
        { name: 'last', content: `${i}` },
        ...(i > 1 ? [{ name: `.wh.only-${i - 1}` }] : []),
      ]);
    }
    await driver.createReadWrite(`${id(200)}-init`, id(depth));
    await driver.createReadWrite(id(200), `${id(200)}-init`);
    await scene.with(id(200), false, async (_path, actor) => {
      t.same(await actor.names(), ['last', `only-${depth}`]);
      t.equal(await actor.get('last'), String(depth));
      await actor.put('written', 'x');
    });
    t.same(await scene.changes(id(200), `${id(200)}-init`), ['A /written']);
    t.same(await scene.paths(id(depth)), ['last', `only-${depth}`]);
  },
};
