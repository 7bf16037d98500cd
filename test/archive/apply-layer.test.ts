/**
 * What is on disk after a layer was applied: as Docker extracts it, whatever the order in the tar.
 */
import {
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { applyLayer, type Applied, type ApplyOptions } from '../../src/archive/apply-layer.js';
import { LayerReader } from '../../src/archive/layer-reader.js';
import type { ByteString } from '../../src/base/bytes.js';
import { sys } from '../../src/sys/index.js';
import { AT_FDCWD } from '../../src/sys/constants.js';
import { succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';
import { inPieces, longName, tar, type Fields } from './tar-builder.js';

const needsRoot = isRoot ? false : 'needs root: owners and devices';

async function apply(
  directory: string,
  parts: readonly (Fields | Buffer)[],
  options: Partial<ApplyOptions> = {},
): Promise<Applied> {
  mkdirSync(directory, { recursive: true });
  const reader = new LayerReader(inPieces(tar(...parts), 777));
  const applied = await applyLayer(reader, directory, {
    whiteouts: 'overlay',
    ownership: isRoot ? 'real' : 'override',
    ...options,
  });
  await reader.finish();
  return applied;
}

function xattrOf(path: string, attribute: string): string | undefined {
  const buffer = Buffer.alloc(1000);
  const size = sys.getxattrat(
    AT_FDCWD,
    Buffer.from(path).toString('latin1') as ByteString,
    attribute as ByteString,
    buffer,
  );
  return size < 0 ? undefined : buffer.toString('latin1', 0, size);
}

/**
 * Every name below, with a letter for what it is: d, f, l, `w` a whiteout, `D` an opaque directory.
 */
function shape(directory: string, below = ''): string[] {
  return readdirSync(`${directory}/${below}`)
    .sort()
    .flatMap((name) => {
      const path = below === '' ? name : `${below}/${name}`;
      const stat = lstatSync(`${directory}/${path}`);
      if (stat.isCharacterDevice() && stat.rdev === 0) return [`w ${path}`];
      if (!stat.isDirectory()) return [`${stat.isSymbolicLink() ? 'l' : 'f'} ${path}`];
      const opaque =
        xattrOf(
          `${directory}/${path}`,
          isRoot ? 'trusted.overlay.opaque' : 'user.overlay.opaque',
        ) === 'y';
      return [`${opaque ? 'D' : 'd'} ${path}`, ...shape(directory, path)];
    });
}

t.test('owners, modes, times, links and special files', { skip: needsRoot }, async (t) => {
  const base = await workspace(t);
  const long = 'n'.repeat(120);
  const applied = await apply(`${base}/x`, [
    { name: './', flag: '5', mode: 0o700, uid: 7, mtime: 5 },
    { name: 'd/', flag: '5', mode: 0o2750, uid: 1, gid: 2, mtime: 1000 },
    {
      name: '/d/file',
      mode: 0o4755,
      uid: 3,
      gid: 4,
      data: 'content',
      pax: { mtime: '1600000000.123456789', atime: '1700000000.5' },
    },
    { name: 'd/old', pax: { mtime: '-5.5' } },
    { name: 'd/hard', flag: '1', link: 'd/file', mode: 0o4755, uid: 3, gid: 4, mtime: 1600000000 },
    { name: 'd/link', flag: '2', link: '../../etc/passwd', uid: 9, gid: 10, mtime: 1234 },
    { name: 'd/several', flag: '2', link: 'x', uid: 9, gid: 9, mtime: 1234 },
    { name: 'd/linklink', flag: '1', link: 'd/several', uid: 11, gid: 12, mode: 0o777 },
    { name: 'fifo', flag: '6', mode: 0o600 },
    { name: 'char', flag: '3', mode: 0o666, major: 1, minor: 3 },
    { name: 'block', flag: '4', mode: 0o660, major: 8, minor: 300 },
    longName(long),
    { name: 'short', data: 'x' },
    { name: 'made/on/the/way', data: 'x' },
    {
      name: 'capable',
      data: 'x',
      pax: {
        'SCHILY.xattr.security.capability': '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0',
        'SCHILY.xattr.user.n': '\xff\0=',
      },
    },
  ]);
  t.strictSame(applied.lost, []);
  t.equal(applied.entries, 14);
  t.equal(applied.size, 10, 'of the headers together');
  const at = (path: string) => lstatSync(`${base}/x/${path}`, { bigint: true });
  const plain = ({ mode, uid, gid }: { mode: bigint; uid: bigint; gid: bigint }) =>
    [mode & 0o7777n, uid, gid].map(String);
  t.same(plain(at('d')), [String(0o2750), '1', '2']);
  t.equal(
    at('d').mtimeNs,
    1000n * 10n ** 9n,
    'the time of a directory, although there are files in it',
  );
  t.same(plain(at('d/file')), [String(0o4755), '3', '4']);
  t.equal(at('d/old').mtimeNs, 0n, 'before 1970 is 1970, as for Docker');
  t.equal(at('d/hard').ino, at('d/file').ino);
  t.equal(at('d/file').mtimeNs, 1600000000n * 10n ** 9n, 'the last name of a file says its time');
  t.equal(readlinkSync(`${base}/x/d/link`), '../../etc/passwd');
  t.same([at('d/link').uid, at('d/link').gid, at('d/link').mtimeNs], [9n, 10n, 1234n * 10n ** 9n]);
  t.equal(at('d/linklink').ino, at('d/several').ino);
  t.same(
    [at('d/several').uid, at('d/several').gid, at('d/several').mtimeNs],
    [11n, 12n, 1234n * 10n ** 9n],
    'the last name of a symbolic link says whose it is',
  );
  t.ok(at('fifo').isFIFO());
  t.same([at('char').isCharacterDevice(), at('char').rdev], [true, 0x103n]);
  t.same([at('block').isBlockDevice(), at('block').rdev], [true, 0x10082cn]);
  t.equal(readFileSync(`${base}/x/${long}`, 'latin1'), 'x');
  t.same(plain(at('made/on/the')), [String(0o755), '0', '0']);
  t.equal(xattrOf(`${base}/x/capable`, 'security.capability')?.length, 20);
  t.equal(xattrOf(`${base}/x/capable`, 'user.n'), '\xff\0=');
  t.not(at('').uid, 7n, 'the root is left as it is');
});

t.test('access times: the later of both', { skip: needsRoot }, async (t) => {
  const base = await workspace(t);
  await apply(`${base}/x`, [
    { name: 'a', pax: { mtime: '100', atime: '200.5' } },
    { name: 'b', pax: { mtime: '100', atime: '50' } },
  ]);
  t.equal(lstatSync(`${base}/x/a`, { bigint: true }).atimeNs, 200_500_000_000n);
  t.equal(lstatSync(`${base}/x/b`, { bigint: true }).atimeNs, 100_000_000_000n);
});

t.test('names that are not UTF-8', async (t) => {
  const base = await workspace(t);
  await apply(`${base}/x`, [{ name: 'caf\xe9/\xff\xfe', data: 'x' }]);
  const names = readdirSync(`${base}/x`, { encoding: 'buffer' }).map((name) =>
    name.toString('latin1'),
  );
  t.same(names, ['caf\xe9']);
});

t.test('sparse files keep their holes', async (t) => {
  const base = await workspace(t);
  const size = 8 * 2 ** 20;
  await apply(`${base}/x`, [
    {
      name: 's',
      data: 'abc',
      pax: { 'GNU.sparse.map': `5,1,4194304,2,${size},0`, 'GNU.sparse.size': String(size) },
    },
  ]);
  const content = readFileSync(`${base}/x/s`);
  t.equal(content.length, size);
  t.equal(content.toString('latin1').replace(/\0+/g, '.'), '.a.bc.');
  t.ok(statSync(`${base}/x/s`).blocks * 512 < size / 2);
});

t.test('an ordinary user’s layer keeps owners and special files aside', async (t) => {
  const base = await workspace(t);
  const { lost } = await apply(
    `${base}/x`,
    [
      { name: 'd/', flag: '5', mode: 0o555, uid: 5, gid: 6 },
      {
        name: 'd/f',
        mode: 0o4051,
        uid: 7,
        gid: 8,
        data: 'x',
        pax: { 'SCHILY.xattr.user.kept': 'y' },
      },
      { name: 'd/g', flag: '1', link: 'd/f', mode: 0o4051, uid: 7, gid: 8 },
      { name: 'tty', flag: '3', mode: 0o620, uid: 0, gid: 5, major: 4, minor: 1 },
      { name: 'tty2', flag: '1', link: 'tty', mode: 0o666 },
      { name: 'pipe', flag: '6', mode: 0o600 },
      { name: 'l', flag: '2', link: 'd', uid: 9 },
      { name: 'way/x' },
      { name: '.wh.gone', uid: 3 },
      { name: 'd/.wh..wh..opq' },
    ],
    { ownership: 'override' },
  );
  t.strictSame(lost, []);
  const override = (path: string): string | undefined =>
    xattrOf(`${base}/x/${path}`, 'user.containers.override_stat');
  t.equal(override('d'), '5:6:0555:dir');
  t.equal(override('d/f'), '7:8:04051:file');
  t.equal(override('d/g'), '7:8:04051:file');
  t.equal(
    override('tty'),
    '0:0:0666:char-4-1',
    'the last name says the mode, and the device stays one',
  );
  t.equal(override('pipe'), '0:0:0600:pipe');
  t.equal(override('way'), '0:0:0755:dir');
  t.equal(xattrOf(`${base}/x/d/f`, 'user.kept'), 'y');
  t.equal(xattrOf(`${base}/x/d`, 'user.overlay.opaque'), 'y');
  for (const path of ['tty', 'pipe']) t.ok(lstatSync(`${base}/x/${path}`).isFile(), path);
  t.equal(lstatSync(`${base}/x/d`).mode & 0o7777, 0o755, 'its owner can take it away again');
  t.equal(lstatSync(`${base}/x/d/f`).mode & 0o7777, 0o651, 'and gives nobody rights');
  t.equal(lstatSync(`${base}/x/d/f`).uid, process.getuid?.());
  t.ok(lstatSync(`${base}/x/gone`).isCharacterDevice());
});

t.test('a later file replaces an earlier one', async (t) => {
  const base = await workspace(t);
  await apply(`${base}/x`, [
    { name: 'a', data: 'first' },
    { name: 'a', data: 'second' },
    { name: 'b/', flag: '5' },
    { name: 'b/c', data: 'below' },
    { name: 'b', data: 'a file now' },
    { name: 'c', flag: '2', link: 'a' },
    { name: 'c', data: 'no link' },
    { name: 'd', data: 'was a file' },
    { name: 'd/', flag: '5' },
    { name: 'd/x' },
    { name: 'd/', flag: '5', mode: 0o700 },
  ]);
  t.same(shape(`${base}/x`), ['f a', 'f b', 'f c', 'd d', 'f d/x']);
  t.equal(readFileSync(`${base}/x/a`, 'latin1'), 'second', 'not written through the link');
  t.equal(lstatSync(`${base}/x/d`).mode & 0o777, 0o700);
});

t.test('of more directories than are kept open, those in use are', async (t) => {
  const base = await workspace(t);
  const names = Array.from({ length: 64 }, (_, i) => `d${i}`);
  await apply(`${base}/x`, [
    { name: 'e/target', data: 'target' },
    ...names.map((name) => ({ name: `${name}/file` })),
    ...names.map((name) => ({ name: `${name}/link`, flag: '1', link: 'e/target' })),
  ]);
  for (const name of names)
    t.equal(readFileSync(`${base}/x/${name}/link`, 'latin1'), 'target', name);
});

t.test('a directory that takes the place of a link has the files after it', async (t) => {
  const base = await workspace(t);
  await apply(`${base}/x`, [
    { name: 'd/', flag: '5' },
    { name: 'l', flag: '2', link: 'd' },
    { name: 'l/before' },
    { name: 'l/', flag: '5' },
    { name: 'l/after' },
  ]);
  t.same(shape(`${base}/x`), ['d d', 'f d/before', 'd l', 'f l/after']);
});

t.test('symbolic links in the middle of a path lead within the layer', async (t) => {
  const base = await workspace(t, 'outside');
  await apply(`${base}/x`, [
    { name: 'usr/lib/', flag: '5' },
    { name: 'lib', flag: '2', link: 'usr/lib' },
    { name: 'abs', flag: '2', link: '/usr' },
    { name: 'up', flag: '2', link: '../../../..' },
    { name: 'out', flag: '2', link: `${base}/outside` },
    { name: 'lib/one', data: '1' },
    { name: 'abs/two', data: '2' },
    { name: 'up/three', data: '3' },
    { name: 'lib/hard', flag: '1', link: 'abs/two' },
  ]);
  t.same(shape(`${base}/x`), [
    'l abs',
    'l lib',
    'l out',
    'f three',
    'l up',
    'd usr',
    'd usr/lib',
    'f usr/lib/hard',
    'f usr/lib/one',
    'f usr/two',
  ]);
  await t.rejects(
    apply(`${base}/y`, [
      { name: 'out', flag: '2', link: `${base}/outside` },
      { name: 'out/x', data: 'x' },
    ]),
    { code: 'archive-hostile' },
  );
  t.same(readdirSync(`${base}/outside`), []);
});

t.test('whiteouts on the way to an overlay', async (t) => {
  const base = await workspace(t);
  await apply(`${base}/x`, [
    { name: 'd/', flag: '5', mtime: 99 },
    { name: 'd/.wh.gone', uid: isRoot ? 5 : 0, gid: isRoot ? 6 : 0, mode: 0o600 },
    { name: 'implied/.wh..wh..opq' },
    { name: 'begins/.wh..wh..opqx' },
    { name: '.wh..wh.aufs', data: 'x' },
    { name: '.wh..wh.plnk/', flag: '5' },
    { name: '.wh..wh.plnk/12.34', data: 'linked' },
    { name: 'one', flag: '1', link: '.wh..wh.plnk/12.34' },
    { name: 'two', flag: '1', link: '/.wh..wh.plnk/12.34' },
  ]);
  t.same(shape(`${base}/x`), [
    'd begins',
    'w begins/.wh..opqx',
    'd d',
    'w d/gone',
    'D implied',
    'f one',
    'f two',
  ]);
  t.equal(lstatSync(`${base}/x/d`).mtimeMs, 99_000);
  const gone = lstatSync(`${base}/x/d/gone`);
  t.equal(gone.mode & 0o7777, 0);
  if (isRoot) t.same([gone.uid, gone.gid], [5, 6]);
  t.equal(readFileSync(`${base}/x/two`, 'latin1'), 'linked');
  t.equal(lstatSync(`${base}/x/one`).ino, lstatSync(`${base}/x/two`).ino);
  await apply(`${base}/y`, [{ name: '.wh..wh..opq' }], {
    opaqueXattr: 'user.overlay.opaque' as ByteString,
  });
  t.equal(xattrOf(`${base}/y`, 'user.overlay.opaque'), 'y', 'of the root too');
});

t.test('whiteouts that stay files', async (t) => {
  const base = await workspace(t);
  await apply(
    `${base}/x`,
    [
      { name: 'a' },
      { name: '.wh.a', mode: 0o600 },
      { name: '.wh.b', flag: '1', link: '.wh.a' },
      { name: 'd/.wh..wh..opq' },
      { name: '.wh..wh.orph/', flag: '5' },
    ],
    {
      whiteouts: 'aufs',
    },
  );
  t.same(shape(`${base}/x`), ['f .wh.a', 'f .wh.b', 'f a', 'd d', 'f d/.wh..wh..opq']);
});

/** A tree of layers below, and what one layer's tar makes of it. */
function lower(directory: string): void {
  for (const path of ['d', 'd/sub', 'e']) mkdirSync(`${directory}/${path}`, { recursive: true });
  for (const path of ['f', 'd/x', 'd/y', 'd/sub/z', 'e/x'])
    writeFileSync(`${directory}/${path}`, 'lower');
  symlinkSync('d', `${directory}/l`);
}

t.test('whiteouts applied to the layers below', async (t) => {
  const base = await workspace(t);
  const result = async (...parts: Fields[]): Promise<string[]> => {
    rmSync(`${base}/x`, { recursive: true, force: true });
    lower(`${base}/x`);
    await apply(`${base}/x`, parts, { whiteouts: 'apply' });
    return shape(`${base}/x`);
  };
  const all = ['d d', 'd d/sub', 'f d/sub/z', 'f d/x', 'f d/y', 'd e', 'f e/x', 'f f', 'l l'];
  const but = (...paths: string[]): string[] =>
    all.filter(
      (line) =>
        !paths.some((path) => line.slice(2) === path || line.slice(2).startsWith(path + '/')),
    );
  t.same(await result(), all);
  t.same(
    await result(
      { name: '.wh.d' },
      { name: '.wh.nothing' },
      { name: 'no/.wh.where' },
      { name: 'f/.wh.x' },
    ),
    but('d'),
  );
  t.same(await result({ name: '.wh.l' }), but('l'), 'a link, not what it leads to');
  t.same(await result({ name: 'd/.wh..wh..opq' }), but('d/sub', 'd/x', 'd/y'));
  t.same(await result({ name: '.wh..wh..opq' }, { name: 'new' }), ['f new']);
  for (const order of [0, 1]) {
    const parts: Fields[] = [{ name: 'd/sub/new' }, { name: 'd/.wh..wh..opq' }];
    if (order === 1) parts.reverse();
    t.same(
      await result(...parts),
      [...but('d'), 'd d', 'd d/sub', 'f d/sub/new'].sort(byPath),
      `a directory that is only on the way, order ${order}`,
    );
    const both: Fields[] = [{ name: 'd/', flag: '5' }, { name: '.wh.d' }];
    if (order === 1) both.reverse();
    t.same(
      await result(...both),
      [...but('d'), 'd d'].sort(byPath),
      `deleted and made anew, order ${order}`,
    );
  }
  t.same(await result({ name: './', flag: '5', mode: 0o711 }), all);
  t.equal(
    lstatSync(`${base}/x`).mode & 0o777,
    isRoot ? 0o711 : 0o711,
    'here the root is the layer’s too',
  );
});

const byPath = (a: string, b: string): number => (a.slice(2) < b.slice(2) ? -1 : 1);

t.test('whiteouts mean the same in any order', async (t) => {
  const base = await workspace(t);
  const parts: Fields[] = [
    { name: 'd/', flag: '5' },
    { name: 'd/x', data: 'new' },
    { name: 'd/.wh.y' },
    { name: '.wh.d' },
    { name: 'e/new', data: 'new' },
    { name: 'e/.wh..wh..opq' },
    { name: 'f', data: 'new' },
    { name: '.wh.f' },
    { name: 'e/deep/', flag: '5' },
  ];
  const outcomes = new Map<string, Set<string>>([
    ['overlay', new Set()],
    ['apply', new Set()],
  ]);
  const any = fc.shuffledSubarray(parts, { minLength: parts.length });
  await fc.assert(
    fc.asyncProperty(
      any,
      fc.constantFrom('overlay' as const, 'apply' as const),
      async (order, whiteouts) => {
        rmSync(`${base}/x`, { recursive: true, force: true });
        if (whiteouts === 'apply') lower(`${base}/x`);
        await apply(`${base}/x`, order, { whiteouts });
        outcomes.get(whiteouts)!.add(shape(`${base}/x`).join('\n'));
      },
    ),
    { numRuns: 120 },
  );
  t.same([...outcomes.get('overlay')!], ['D d\nf d/x\nw d/y\nD e\nd e/deep\nf e/new\nf f']);
  t.same([...outcomes.get('apply')!], ['d d\nf d/x\nd e\nd e/deep\nf e/new\nf f\nl l']);
});

t.test('as tar extracts it', { skip: needsRoot }, async (t: Test) => {
  const base = await workspace(t, 'tree/a/b', 'tar');
  await succeed([
    'sh',
    '-ec',
    `cd ${base}/tree; cp -a /etc/init.d /etc/alternatives a/ || true; mkfifo a/p; mknod a/n c 1 3; echo x >a/h; ln a/h a/b/h; chown -h 5:6 a/b; touch -d @1.5 a/b; setfattr -n user.x -v 0x00ff a/h`,
  ]);
  await succeed([
    'tar',
    '-C',
    `${base}/tree`,
    '--format=posix',
    '--xattrs',
    '--xattrs-include=*',
    '-cf',
    `${base}/x.tar`,
    '.',
  ]);
  await succeed([
    'tar',
    '-C',
    `${base}/tar`,
    '--xattrs',
    '--xattrs-include=*',
    '-xpf',
    `${base}/x.tar`,
  ]);
  mkdirSync(`${base}/ours`);
  const reader = new LayerReader(inPieces(readFileSync(`${base}/x.tar`), 10_000));
  await applyLayer(reader, `${base}/ours`, { whiteouts: 'overlay', ownership: 'real' });
  const listing = (name: string): Promise<string> =>
    succeed([
      'sh',
      '-ec',
      `cd ${base}/${name}; find a -printf '%p %y %m %U:%G %n %T@ %l\\n' | sort; getfattr -R -d -m user. a; find a -type f -exec md5sum {} + | sort`,
    ]);
  t.equal(await listing('ours'), await listing('tar'));
});
