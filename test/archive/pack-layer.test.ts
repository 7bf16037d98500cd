/**
 * Native and naive diffs as tars, what they hold as Docker has it, and that applying them gives the
 * layer again.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import t from 'tap';
import { applyLayer } from '../../src/archive/apply-layer.js';
import { compareTrees } from '../../src/archive/changes.js';
import { LayerReader } from '../../src/archive/layer-reader.js';
import { treeSize } from '../../src/archive/layer-size.js';
import { packChanges, packTree, type PackOptions } from '../../src/archive/pack-layer.js';
import { readAll, type ByteSource } from '../../src/base/byte-source.js';
import type { ByteString } from '../../src/base/bytes.js';
import { AT_FDCWD, S_IFCHR, S_IFIFO, S_IFSOCK } from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';
import { inPieces } from './tar-builder.js';

const needsRoot = isRoot ? false : 'needs root: devices and trusted attributes';
const path = (text: string): ByteString => Buffer.from(text).toString('latin1') as ByteString;
const setXattr = (file: string, attribute: string, value: string): void => {
  const result = sys.setxattrat(
    AT_FDCWD,
    path(file),
    path(attribute),
    Buffer.from(value, 'latin1'),
    0,
  );
  if (result < 0) throw new Error(`${attribute}: ${result}`);
};
const mknod = (file: string, mode: number): number => sys.mknodat(AT_FDCWD, path(file), mode, 0, 0);

const whole = async (source: ByteSource): Promise<Buffer> => (await readAll(source, 2 ** 26))!;

interface Line {
  readonly name: string;
  readonly type: string;
  readonly [field: string]: unknown;
}

async function entriesOf(bytes: Buffer): Promise<Line[]> {
  const lines: Line[] = [];
  for await (const { name, type, mode, uid, gid, size, mtime, linkname, xattrs } of new LayerReader(
    inPieces(bytes, 10_000),
  )) {
    lines.push({
      name,
      type,
      mode,
      uid,
      gid,
      size,
      mtime,
      linkname,
      xattrs: [...xattrs].map(([key, value]) => `${key}=${Buffer.from(value).toString('latin1')}`),
    });
  }
  return lines;
}

const pack = async (directory: string, options: Partial<PackOptions> = {}): Promise<Line[]> =>
  entriesOf(await whole(packTree(directory, { form: 'overlay', ownership: 'real', ...options })));

t.test('the native diff of an overlay’s layer', { skip: needsRoot }, async (t) => {
  const base = await workspace(t, 'x/d', 'x/opaque');
  const x = `${base}/x`;
  writeFileSync(`${x}/d/f`, 'content');
  linkSync(`${x}/d/f`, `${x}/a-name`);
  symlinkSync('d/f', `${x}/link`);
  writeFileSync(`${x}/d-file`, 'sorts after d/');
  mknod(`${x}/gone`, S_IFCHR);
  linkSync(`${x}/gone`, `${x}/gone2`);
  mknod(`${x}/socket`, S_IFSOCK | 0o600);
  chmodSync(`${x}/opaque`, 0o2750);
  setXattr(`${x}/opaque`, 'trusted.overlay.opaque', 'y');
  setXattr(`${x}/opaque`, 'trusted.overlay.origin', 'x');
  writeFileSync(`${x}/opaque/w`, '');
  setXattr(`${x}/opaque/w`, 'trusted.overlay.whiteout', '');
  setXattr(`${x}/d/f`, 'security.capability', '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0');
  setXattr(`${x}/d/f`, 'user.bytes', '\xff\0\n=');
  setXattr(`${x}/d/f`, 'trusted.overlay.overlay.opaque', 'y');
  utimesSync(`${x}/d/f`, 1, 1234.75);
  utimesSync(`${x}/gone`, 1, 77.5);
  const lines = await pack(x);
  t.strictSame(
    lines.map(({ name, type, linkname, size }) => [name, type, linkname, size]),
    [
      ['a-name', 'file', '', 7],
      ['d/', 'directory', '', 0],
      ['d/f', 'link', 'a-name', 0],
      ['d-file', 'file', '', 14],
      ['.wh.gone', 'file', '', 0],
      ['.wh.gone2', 'file', '', 0],
      ['link', 'symlink', 'd/f', 0],
      ['opaque/', 'directory', '', 0],
      ['opaque/.wh..wh..opq', 'file', '', 0],
      // Only where the directory says that empty files may be whiteouts.
      ['opaque/w', 'file', '', 0],
    ],
    'in byte order of names on disk, no socket',
  );
  const find = (name: string): Line => lines.find((line) => line.name === name)!;
  t.match(find('a-name'), { mtime: { sec: 1234, nsec: 0 }, mode: 0o644 });
  t.strictSame((find('a-name')['xattrs'] as string[]).slice().sort(), [
    'security.capability=\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0',
    'trusted.overlay.overlay.opaque=y',
    'user.bytes=\xff\0\n=',
  ]);
  t.match(find('.wh.gone'), { mode: 0o600, mtime: { sec: 77 } });
  t.match(find('opaque/'), { mode: 0o2750, xattrs: [] });
  t.match(find('opaque/.wh..wh..opq'), { mode: 0o750, mtime: { sec: 0 } });

  setXattr(`${x}/d`, 'trusted.overlay.redirect', '/elsewhere');
  await t.rejects(pack(x), { code: 'layer-needs-merge' });
});

t.test('further names of whatever is no directory are links', { skip: needsRoot }, async (t) => {
  const base = await workspace(t, 'x/d', 'y');
  const x = `${base}/x`;
  symlinkSync('target', `${x}/a-link`);
  mknod(`${x}/b-fifo`, S_IFIFO | 0o640);
  execFileSync('mknod', [`${x}/c-device`, 'c', '1', '3']);
  for (const name of ['a-link', 'b-fifo', 'c-device']) {
    execFileSync('chown', ['-h', '5:6', `${x}/${name}`]);
    linkSync(`${x}/${name}`, `${x}/d/${name}`);
  }
  const tar = await whole(packTree(x, { form: 'overlay', ownership: 'real' }));
  t.strictSame(
    (await entriesOf(tar)).map(({ name, type, linkname, uid, gid }) => [
      name,
      type,
      linkname,
      `${String(uid)}:${String(gid)}`,
    ]),
    [
      ['a-link', 'symlink', 'target', '5:6'],
      ['b-fifo', 'fifo', '', '5:6'],
      ['c-device', 'character', '', '5:6'],
      ['d/', 'directory', '', '0:0'],
      ['d/a-link', 'link', 'a-link', '5:6'],
      ['d/b-fifo', 'link', 'b-fifo', '5:6'],
      ['d/c-device', 'link', 'c-device', '5:6'],
    ],
  );
  await applyLayer(new LayerReader(inPieces(tar)), `${base}/y`, {
    whiteouts: 'overlay',
    ownership: 'real',
  });
  for (const name of ['a-link', 'b-fifo', 'c-device']) {
    const [first, second] = [lstatSync(`${base}/y/${name}`), lstatSync(`${base}/y/d/${name}`)];
    t.same([first.ino, first.nlink, first.uid, first.gid], [second.ino, 2, 5, 6], name);
  }
});

t.test('a name that vanishes while the tar is made is no name of the others', async (t) => {
  const base = await workspace(t, 'x');
  const x = `${base}/x`;
  // More than is packed before the first piece is asked for.
  writeFileSync(`${x}/a`, Buffer.alloc(2 ** 20));
  writeFileSync(`${x}/b`, 'content');
  linkSync(`${x}/b`, `${x}/c`);
  symlinkSync('target', `${x}/d`);
  linkSync(`${x}/d`, `${x}/e`);
  const pieces: Uint8Array[] = [];
  for await (const piece of packTree(x, { form: 'overlay', ownership: 'real' })) {
    if (pieces.length === 0) for (const name of ['b', 'd']) unlinkSync(`${x}/${name}`);
    pieces.push(Uint8Array.from(piece));
  }
  t.strictSame(
    (await entriesOf(Buffer.concat(pieces))).map(({ name, type, linkname, size }) => [
      name,
      type,
      linkname,
      size,
    ]),
    [
      ['a', 'file', '', 2 ** 20],
      ['c', 'file', '', 7],
      ['e', 'symlink', 'target', 0],
    ],
  );
});

t.test('a layer with markers', { skip: needsRoot }, async (t) => {
  const base = await workspace(t, 'x/d', 'x/e', 'x/.wh..wh.plnk', 'x/.wh..wh.orph');
  const x = `${base}/x`;
  writeFileSync(`${x}/.wh.a`, '');
  mknod(`${x}/a`, S_IFCHR);
  mknod(`${x}/b`, S_IFCHR);
  writeFileSync(`${x}/d/.wh..wh..opq`, '');
  setXattr(`${x}/d`, 'trusted.overlay.opaque', 'y');
  mknod(`${x}/d/.wh..opq`, S_IFCHR);
  // What any user can set is data to root.
  setXattr(`${x}/e`, 'user.fuseoverlayfs.opaque', 'y');
  const names = async (form: PackOptions['form']): Promise<string[]> =>
    (await pack(x, { form })).map(({ name }) => name);
  writeFileSync(`${x}/e/.wh..wh.b`, '');
  t.same(
    await names('aufs'),
    ['.wh.a', '.wh.b', 'd/', 'd/.wh..wh..opq', 'e/', 'e/.wh..wh.b'],
    'below the root a marker of AUFS’s own is that of a name like any other',
  );
});

t.test('names and numbers that ustar has no room for', async (t) => {
  const base = await workspace(t, 'x');
  const x = `${base}/x`;
  const names = [
    'n'.repeat(100),
    'n'.repeat(101),
    `${'p'.repeat(150)}/${'n'.repeat(100)}`,
    `${'p'.repeat(160)}/n`,
    'caf\u00e9',
    `${'q'.repeat(99)}/x`,
  ];
  for (const name of names) {
    mkdirSync(`${x}/${name}`.replace(/\/[^/]*$/, ''), { recursive: true });
    writeFileSync(`${x}/${name}`, name);
  }
  execFileSync('python3', [
    '-c',
    `import os,sys; open(sys.argv[1].encode()+b'/\\xff\\xfe','w').close(); os.symlink('t'*150, sys.argv[1]+'/link')`,
    x,
  ]);
  if (isRoot) {
    execFileSync('chown', ['3000000:4000000', `${x}/${names[0]!}`]);
    // The last that seven digits hold, and the first that they do not.
    execFileSync('chown', [`${8 ** 7 - 1}:${8 ** 7}`, `${x}/${names[1]!}`]);
  }
  utimesSync(`${x}/${names[1]!}`, 5, -3);
  const bytes = await whole(packTree(x, { form: 'overlay', ownership: 'real' }));
  writeFileSync(`${base}/x.tar`, bytes);
  mkdirSync(`${base}/y`);
  // Its own warning about times before 1970 is not what is asked for.
  execFileSync('tar', ['-C', `${base}/y`, '--warning=no-timestamp', '-xpf', `${base}/x.tar`]);
  const listing = (directory: string): Promise<string> =>
    succeed([
      'sh',
      '-c',
      `cd ${directory} && find . -mindepth 1 -printf '%p %y %m %U:%G %Ts %l\\n' | LC_ALL=C sort`,
    ]);
  t.equal(await listing(`${base}/y`), await listing(x), 'tar reads it');
  t.ok(
    (await whole(packTree(x, { form: 'overlay', ownership: 'real' }))).equals(bytes),
    'the same tree, the same bytes',
  );
  t.equal(bytes.length % 512, 0);
  t.ok(bytes.subarray(-1024).every((byte) => byte === 0));
});

for (const form of ['overlay', 'aufs'] as const) {
  for (const ownership of ['real', 'override'] as const) {
    t.test(`packed, applied, packed: ${form}, ${ownership}`, { skip: needsRoot }, async (t) => {
      const base = await workspace(t, 'first', 'second', 'tree/d/e');
      execFileSync('sh', [
        '-ec',
        `cd ${base}/tree; echo 1 >d/f; ln d/f d/g; mkfifo p; mknod n b 7 9; ln -s x l; chown 5:6 d/f p; chmod 4711 d/f; : >.wh.x; : >d/e/.wh..wh..opq; chmod 600 .wh.x; chmod 755 d/e/.wh..wh..opq`,
      ]);
      execFileSync('sh', [
        '-ec',
        `cd ${base}/tree; find . -exec touch -h -d @1000 {} +; touch -d @0 d/e/.wh..wh..opq`,
      ]);
      const tar = await whole(packTree(`${base}/tree`, { form: 'aufs', ownership: 'real' }));
      const reader = new LayerReader(inPieces(tar));
      const { lost } = await applyLayer(reader, `${base}/first`, { whiteouts: form, ownership });
      t.same(lost, []);
      const again = await whole(packTree(`${base}/first`, { form, ownership }));
      const sorted = (lines: Line[]): Line[] =>
        lines
          .map((line) =>
            line.name.startsWith('.wh.') || line.name.includes('/.wh.')
              ? { ...line, mtime: 0 }
              : line,
          )
          .sort((a, b) => (a.name < b.name ? -1 : 1));
      t.strictSame(sorted(await entriesOf(again)), sorted(await entriesOf(tar)));
    });
  }
}

t.test('the naive diff', async (t) => {
  const base = await workspace(t, 'old/d/sub', 'new/d', 'again');
  for (const side of ['old', 'new']) writeFileSync(`${base}/${side}/same`, 'same');
  for (const side of ['old', 'new']) utimesSync(`${base}/${side}/same`, 5, 5);
  writeFileSync(`${base}/old/d/changed`, 'old');
  writeFileSync(`${base}/new/d/changed`, 'changed');
  writeFileSync(`${base}/old/d/sub/x`, '');
  writeFileSync(`${base}/new/added`, 'added');
  const changes = compareTrees(`${base}/new`, `${base}/old`);
  const bytes = await whole(
    packChanges(`${base}/new`, [...changes, { kind: 'A', path: '/vanished' as ByteString }]),
  );
  const lines = await entriesOf(bytes);
  t.same(
    lines.map(({ name, size }) => [name, size]),
    [
      ['added', 5],
      ['d/', 0],
      ['d/changed', 7],
      ['d/.wh.sub', 0],
    ],
  );
  execFileSync('cp', ['-a', `${base}/old/.`, `${base}/again`]);
  await applyLayer(new LayerReader(inPieces(bytes)), `${base}/again`, {
    whiteouts: 'apply',
    ownership: isRoot ? 'real' : 'override',
  });
  const again = isRoot ? compareTrees(`${base}/again`, `${base}/new`) : [];
  t.same(again, [], 'applied to the old tree it gives the new one');
  t.equal(readFileSync(`${base}/again/d/changed`, 'latin1'), 'changed');
});

t.test('the size Docker writes down', async (t) => {
  const base = await workspace(t, 'x/d');
  const x = `${base}/x`;
  writeFileSync(`${x}/d/f`, 'x'.repeat(1000));
  linkSync(`${x}/d/f`, `${x}/g`);
  symlinkSync('twelve bytes', `${x}/l`);
  writeFileSync(`${x}/sparse`, '');
  truncateSync(`${x}/sparse`, 5000);
  t.equal(treeSize(x), 6012, 'directories none, an inode once, a link its target, holes too');
  t.throws(() => treeSize(`${base}/none`), { code: 'layer-missing' });
});
