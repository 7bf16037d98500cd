/** `ply explain` and `ply tree`, through the built program. */
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { archiveOf, docker20, imageOf } from '../image/fixture.js';
import { ended, run, succeed } from '../support/command.js';
import { daemonsOf } from '../support/mounts.js';
import { layers, plyfs, plyfsProgram } from '../support/plyfs.js';
import { ply, plyOn, plyProgram, type Ply } from '../support/ply.js';
import { root } from '../support/root.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(180_000);
const noRoot = !isRoot && 'layers with their owners need root';

/** `sample:1` of three layers, each by a step of its history; a fourth step made none. */
async function scene(
  t: Test,
  ...globals: string[]
): Promise<{ base: string; mnt: string; ply: Ply }> {
  const base = await workspace(t, 'mnt');
  const image = await imageOf(
    [
      { 'etc/conf': 'grey\n', 'docs/guide': '123456\n' },
      { 'bin/tool': 'tool\n' },
      { 'etc/conf': 'green\n' },
    ],
    {
      history: [
        { created_by: 'COPY base /' },
        { created_by: 'COPY tools /' },
        { created_by: 'ENV A=b', empty_layer: true },
        { created_by: 'COPY app /' },
      ],
    },
  );
  await writeFile(`${base}/image.tar`, await archiveOf(docker20([{ image, tags: ['sample:1'] }])));
  const ply = plyOn(`${base}/root`, ...globals);
  await ply('load', '-q', '-i', `${base}/image.tar`);
  return { base, mnt: `${base}/mnt`, ply };
}

t.test('of an image, with the steps of its history', { skip: noRoot }, async (t) => {
  const { ply } = await scene(t);
  t.match(await ply.json('explain', 'sample:1', 'etc/conf', '/bin/tool'), [
    {
      path: '/etc/conf',
      kind: 'file',
      size: 6,
      layers: [
        { layer: 1, name: 'layer 1', state: 'wins', createdBy: 'COPY app /' },
        { layer: 2, state: 'absent', createdBy: 'COPY tools /' },
        {
          layer: 3,
          state: 'hidden',
          createdBy: 'COPY base /',
          size: 5,
          hiddenBy: { reason: 'file', layer: 1, path: '/etc/conf' },
        },
      ],
      write: undefined,
    },
    { path: '/bin/tool', layers: [{ state: 'absent' }, { state: 'wins' }, { state: 'absent' }] },
  ]);
  const text = await ply('explain', 'sample:1', 'etc/conf');
  t.match(text, /^\/etc\/conf: a file of 6 bytes$/m);
  t.match(text, /layer 1 .*\n +COPY app \/\n.*layer 3 .* 5 bytes.*layer 1\n +COPY base \//);
  t.match(text, /no upper layer/);
  const lines = (await ply('explain', '--format', 'json', 'sample:1', 'etc/conf', 'bin')).split(
    '\n',
  );
  t.same(
    lines.map((line) => (JSON.parse(line) as { path: string }).path),
    ['/etc/conf', '/bin'],
    'an object a line',
  );
});

t.test(
  'of a mounted layer, by name, by mount point and by path, and of the same unmounted',
  { skip: noRoot },
  async (t) => {
    const { base, mnt, ply } = await scene(t);
    await ply('mount', '--name', 'web', 'sample:1', mnt);
    await rm(`${mnt}/docs/guide`);
    await writeFile(`${mnt}/etc/conf`, 'changed by me\n');
    await symlink('mnt', `${base}/link`);
    const wanted = [
      {
        path: '/docs/guide',
        kind: undefined,
        layers: [
          { name: 'upper', state: 'whiteout' },
          {},
          {},
          { state: 'hidden', createdBy: 'COPY base /', hiddenBy: { reason: 'whiteout', layer: 0 } },
        ],
      },
      {
        path: '/etc/conf',
        size: 14,
        layers: [{ name: 'upper', state: 'wins' }, { state: 'hidden' }, {}, { state: 'hidden' }],
        write: { bytes: 0, inPlace: true },
      },
    ];
    t.match(await ply.json('explain', 'web', 'docs/guide', 'etc/conf'), wanted, 'by name');
    t.match(await ply.json('explain', mnt, 'docs/guide', 'etc/conf'), wanted, 'by mount point');
    t.match(
      await ply.json('explain', `${mnt}/docs/guide`, `${base}/link/etc/conf`),
      wanted,
      'by path',
    );
    const relative = await succeed(
      [plyProgram, '--root', `${base}/root`, '--json', 'explain', '../docs/guide', 'conf'],
      {
        cwd: `${mnt}/etc`,
      },
    );
    t.match(JSON.parse(relative), wanted, 'relative to a directory in it');
    t.match(
      await ply('explain', `${mnt}/docs/guide`),
      /^\/docs\/guide: not there: deleted\n.*upper +deletes it/,
    );
    t.match(await ply.json('explain', 'web', 'bin/tool'), [
      { write: { bytes: 5, inPlace: false, directories: ['/bin'] } },
    ]);
    await ply('umount', 'web');
    t.match(await ply.json('explain', 'web', 'docs/guide', 'etc/conf'), wanted, 'unmounted');
    await ply('--mounter', 'kernel', 'mount', 'web', mnt);
    t.match(
      await ply.json('explain', 'web', 'docs/guide', 'etc/conf'),
      wanted,
      "mounted by the kernel's overlay",
    );
  },
);

t.test('of layers that plyfs joined, named by paths of any kind', async (t) => {
  const { directory, top, bottom, upper, mountpoint } = await layers(t);
  await mkdir(`${directory}/t`);
  await succeed(
    [
      'sh',
      '-c',
      '"$0" -o lowerdir=top:bottom,upperdir=upper,workdir=work mnt',
      join(plyProgram, '../plyfs'),
    ],
    {
      cwd: directory,
    },
  );
  const both = {
    layers: [
      { name: 'upper', directory: upper },
      { directory: top, state: 'wins' },
      { directory: bottom, state: 'hidden' },
    ],
  };
  t.match(JSON.parse((await ply('explain', '--json', `${mountpoint}/both`)).stdout), [both]);
  t.match(JSON.parse((await ply('--json', 'explain', `${directory}/t/../mnt//./both`)).stdout), [
    both,
  ]);
  t.match((await ply('explain', `${mountpoint}/both`)).stdout, `${top}/both`);
  await succeed(['umount', mountpoint]);
});

t.test('of a mount over its own lower layer', { skip: !isRoot && 'needs root' }, async (t) => {
  const { bottom, upper, work } = await layers(t);
  t.match(await plyfs('-o', `lowerdir=${bottom},upperdir=${upper},workdir=${work}`, bottom), {
    status: 0,
  });
  await writeFile(`${bottom}/low`, 'longer than before\n');
  const [answer] = JSON.parse(
    (await ply('--json', 'explain', `${bottom}/low`)).stdout,
  ) as unknown[];
  t.match(
    answer,
    { size: 19, layers: [{ state: 'wins' }, { state: 'hidden', size: 4, directory: bottom }] },
    'what it covers is looked at',
  );
});

t.test(
  'a mount over the program itself and over where it listens',
  { skip: !isRoot && 'a mount namespace of its own needs root' },
  async (t) => {
    for (const covered of [root, '/run']) {
      // What the shell starts is read through the mount, which its process must serve meanwhile.
      const script = [
        '"$0" -o "lowerdir=$1" "$1" || exit',
        'test -d "$1/." && cat "$1/package.json" 2>/dev/null | grep -c "\\"name\\": \\"plyfs\\""',
        '[ "$1" = /run ] || "$2" explain "$1/package.json" | head -n 1',
        'umount "$1"; echo unmounted',
      ].join('\n');
      const outcome = await run([
        'unshare',
        '-m',
        'sh',
        '-c',
        script,
        plyfsProgram,
        covered,
        plyProgram,
      ]);
      t.match(
        outcome,
        {
          status: 0,
          stdout:
            covered === root
              ? /^1\n\/package.json: a file of \d+ bytes\nunmounted\n$/
              : /unmounted\n$/,
        },
        covered,
      );
    }
  },
);

t.test(
  'a bind mount of a part of a union, and what is mounted below one',
  { skip: !isRoot && 'needs root' },
  async (t) => {
    const { directory, bottom, options, mountpoint } = await layers(t);
    for (const path of [`${bottom}/in/deep`, `${bottom}/proc`, `${directory}/bind`])
      await mkdir(path, { recursive: true });
    await writeFile(`${bottom}/in/deep/file`, 'x');
    await plyfs('-o', options, mountpoint);
    await succeed(['mount', '--bind', `${mountpoint}/in`, `${directory}/bind`]);
    t.match(JSON.parse((await ply('--json', 'explain', `${directory}/bind/deep/file`)).stdout), [
      { path: '/in/deep/file' },
    ]);
    await succeed(['mount', '-t', 'tmpfs', 'tmpfs', `${mountpoint}/proc`]);
    t.match(await ply('explain', `${mountpoint}/proc/1`), { status: 1, stderr: /tmpfs/ });
  },
);

t.test('what cannot be explained: one sentence', async (t) => {
  const { mountpoint, options } = await layers(t);
  const base = await workspace(t);
  t.match(await ply('explain'), { status: 2, stdout: '' });
  t.match(await ply('explain', '/etc'), {
    status: 2,
    stderr: /^ply: '\/etc' lies in no mount of plyfs.*\n$/,
  });
  t.match(await ply('--root', `${base}/root`, 'explain', 'nothing', '/etc'), {
    status: 1,
    stderr: /^ply: [^\n]+\n$/,
  });
  await plyfs('-o', options, mountpoint);
  t.match(await ply('explain', `${mountpoint}/nothing/at`), {
    status: 0,
    stdout: /not there, because there is no \/nothing\n.*No layer/,
  });
});

t.test('tree: sizes, steps, and what the layers above hide', { skip: noRoot }, async (t) => {
  const { mnt, ply } = await scene(t);
  const sizes = (tree: unknown): unknown[] =>
    (tree as { size: number; waste?: number }[]).map(({ size, waste }) => [size, waste]);
  t.match(await ply.json('tree', 'sample:1'), [
    { createdBy: 'COPY app /' },
    { createdBy: 'COPY tools /' },
    { createdBy: 'COPY base /' },
  ]);
  // 5 bytes of etc/conf, 7 of docs/guide.
  t.same(sizes(await ply.json('tree', 'sample:1')), [
    [6, 0],
    [5, 0],
    [12, 5],
  ]);
  t.match(
    await ply('tree', 'sample:1'),
    /^LAYER .*\n.*\nlayer 2 .*\nlayer 3 +[0-9a-f]{12} +12B +5B +COPY base \/\n\nOf 23B, 5B \(22%\)/,
  );
  await ply('mount', '--name', 'web', 'sample:1', mnt);
  await rm(`${mnt}/docs`, { recursive: true });
  await writeFile(`${mnt}/etc/conf`, 'red\n');
  t.same(
    sizes(await ply.json('tree', 'web')),
    [
      [4, 0],
      [6, 6],
      [5, 0],
      [12, 12],
    ],
    'with its upper',
  );
  t.equal(
    await ply('tree', '--format', '{{.Layer}} {{.Waste}}', 'sample:1'),
    'layer 1 0B\nlayer 2 0B\nlayer 3 5B',
  );
  t.match(await ply.outcome('tree', 'none:1'), { status: 1, stderr: /none:1/ });
});

t.test('the storage drivers', { skip: noRoot }, async (t) => {
  for (const driver of ['fuse-overlayfs', 'aufs', 'vfs']) {
    const { ply } = await scene(t, '--storage-driver', driver);
    t.match(await ply.json('explain', 'sample:1', 'etc/conf'), [{ kind: 'file', size: 6 }], driver);
    const tree = (await ply.json('tree', 'sample:1')) as { waste?: number }[];
    t.same(
      tree.map(({ waste }) => waste),
      driver === 'vfs' ? [undefined, undefined, undefined] : [0, 0, 5],
      driver,
    );
  }
});

t.test('a mount whose process is gone', { skip: !isRoot && 'needs root' }, async (t) => {
  const { mountpoint, options } = await layers(t);
  await plyfs('-o', options, mountpoint);
  const [daemon] = daemonsOf(mountpoint);
  process.kill(daemon!, 'SIGKILL');
  await ended(daemon!);
  const said = { status: 1, stdout: '', stderr: /^ply: [^\n]*`ply umount [^\n]*\n$/ };
  t.match(await ply('explain', `${mountpoint}/both`), said);
  t.match(await ply('trace', mountpoint), said);
});
