/** What explanations say of layers in all forms, beside what a mount of the same layers shows. */
import t from 'tap';
import { bytesOf } from '../../src/base/bytes.js';
import { explain, type Explanation } from '../../src/union/explain.js';
import { lookingAt } from '../../src/union/layers-at-rest.js';
import { shownBytes } from '../../src/union/shown-bytes.js';
import { succeed } from '../support/command.js';
import { kernel } from '../suites/mounters.js';
import type { UnionScene } from '../suites/union/scene.js';
import { onUnion } from './with-union.js';

t.setTimeout(120_000);

function layersOf(s: UnionScene): { index: number; path: ReturnType<typeof bytesOf> }[] {
  return [s.union.upper, ...s.union.lowers].map((path, index) => ({ index, path: bytesOf(path) }));
}

function ask(s: UnionScene, path: string): Explanation {
  return lookingAt(layersOf(s), (context) => explain(context, bytesOf(path)));
}

/** `upper:whiteout 2:hidden(whiteout@0)`: each layer that has something to say. */
function summary({ layers }: Explanation): string {
  return layers
    .filter(({ state }) => state !== 'absent')
    .map(({ layer, state, hiddenBy }) => {
      return `${layer}:${state}${hiddenBy === undefined ? '' : `(${hiddenBy.reason} of ${hiddenBy.path} in ${hiddenBy.layer})`}`;
    })
    .join(' ');
}

await onUnion(t, 'what hides a path, and where', { layers: 3, needsRoot: true }, async (s) => {
  await s.lay('lower3', {
    'a/b/file': '333',
    'a/gone': 'x',
    'shadowed/deep/file': 'x',
    opaque: 'x',
    'o/p/file': 'x',
    'turned/x': 'x',
    'pair/x': 'x',
  });
  await s.lay('lower2', {
    'a/b/file': '22',
    shadowed: 'a file',
    'o/p/other': 'x',
    'pair/y': 'x',
    mixed: 'a file',
  });
  await s.lay('lower1', { 'pair/z': 'x', 'mixed/x': 'x' });
  await s.lay('upper', { 'o/p/mine': 'x', 'a/': '', 'a/x': '' });
  await s.whiteout('upper/a/gone');
  await s.whiteout('upper/turned');
  await s.opaque('upper/o/p');
  const wanted: Record<string, string> = {
    'a/b/file': '2:wins 3:hidden(file of /a/b/file in 2)',
    'a/gone': '0:whiteout 3:hidden(whiteout of /a/gone in 0)',
    'turned/x': '3:hidden(whiteout of /turned in 0)',
    'shadowed/deep/file': '3:hidden(file of /shadowed in 2)',
    shadowed: '2:wins 3:hidden(file of /shadowed in 2)',
    'o/p/file': '3:hidden(opaque of /o/p in 0)',
    'o/p/other': '2:hidden(opaque of /o/p in 0)',
    'o/p': '0:wins 2:hidden(opaque of /o/p in 0) 3:hidden(opaque of /o/p in 0)',
    pair: '1:wins 2:merged 3:merged',
    mixed: '1:wins 2:hidden(directory of /mixed in 1)',
    'nowhere/at/all': '',
    '/': '0:wins 1:merged 2:merged 3:merged',
    'a/../pair/./x': '3:wins',
  };
  for (const [path, answer] of Object.entries(wanted))
    s.t.equal(summary(ask(s, path)), answer, path);
  s.t.match(ask(s, 'a/b/file'), {
    path: '/a/b/file',
    size: 2,
    write: { bytes: 2, inPlace: false, directories: ['/a/b'] },
  });
  s.t.match(ask(s, 'a/x'), { write: { bytes: 0, inPlace: true, directories: [] } });
  s.t.match(ask(s, 'pair'), { write: { bytes: 0, inPlace: false } });
  s.t.match(ask(s, 'shadowed/deep/file'), {
    endsAt: { path: '/shadowed', type: 0o100000 },
    type: undefined,
    write: undefined,
  });
  s.t.match(ask(s, 'nowhere/at/all'), { endsAt: { path: '/nowhere', type: undefined } });
  s.t.equal(ask(s, 'a/gone').type, undefined);
});

await onUnion(
  t,
  'symbolic links are followed within the union, the last one not',
  { layers: 2 },
  async (s) => {
    await s.lay('lower2', {
      'etc/file': 'x',
      abs: '->/etc',
      'etc/up': '->../../../etc',
      last: '->etc/file',
      loop: '->loop/x',
    });
    await s.lay('lower1', { 'dir/rel': '->../abs' });
    s.t.match(ask(s, 'dir/rel/up/file'), {
      path: '/etc/file',
      links: [
        { path: '/dir/rel', target: '../abs' },
        { path: '/abs', target: '/etc' },
        { path: '/etc/up', target: '../../../etc' },
      ],
    });
    s.t.match(ask(s, 'last'), {
      path: '/last',
      links: [],
      type: 0o120000,
      target: 'etc/file',
      write: { bytes: 0, inPlace: false },
    });
    s.t.throws(() => ask(s, 'loop/x'), { message: /ELOOP/ });
  },
);

await onUnion(
  t,
  "AUFS's markers, and what a layer deletes that it has itself",
  { layers: 2 },
  async (s) => {
    await s.lay('lower2', { 'dir/gone': 'x', 'dir/both': 'x', 'closed/x': 'x' });
    await s.lay('lower1', {
      '.wh..wh.aufs': '',
      'dir/.wh.gone': '',
      'dir/both': 'y',
      'dir/.wh.both': '',
      'closed/.wh..wh..opq': '',
    });
    s.t.equal(summary(ask(s, 'dir/gone')), '1:whiteout 2:hidden(whiteout of /dir/gone in 1)');
    s.t.equal(summary(ask(s, 'dir/both')), '1:wins 2:hidden(file of /dir/both in 1)');
    s.t.equal(summary(ask(s, 'closed/x')), '2:hidden(opaque of /closed in 1)');
    s.t.equal(summary(ask(s, 'dir/.wh.gone')), '', 'a marker is no file');
  },
);

await onUnion(
  t,
  'directories that the kernel renamed and files whose metadata it copied',
  { layers: 2, needsRoot: true, needsKernel: true, options: [] },
  async (s) => {
    await s.lay('lower2', {
      'old/deep/file': 'deep',
      'old/top': 'top',
      'meta/file': 'twelve bytes',
    });
    await s.lay('lower1', { 'old/deep/more': 'more' });
    const { lowers, upper, base, mnt } = s.union;
    await kernel.mount(
      { lowers, upper, work: `${base}/work`, options: ['redirect_dir=on', 'metacopy=on'] },
      mnt,
    );
    await succeed(['sh', '-c', 'mv old new && mv new/deep moved && chmod 600 meta/file'], {
      cwd: mnt,
    });
    await s.union.unmount();
    const deep = ask(s, 'moved/file');
    s.t.match(deep, { path: '/moved/file', size: 4, write: { bytes: 4, inPlace: false } });
    s.t.match(
      deep.layers.find(({ state }) => state === 'wins'),
      { layer: 2, path: '/old/deep/file' },
      'its path in the layer is the former one',
    );
    s.t.match(ask(s, 'moved').layers, [
      { layer: 0, state: 'wins', path: '/moved' },
      { layer: 1, state: 'merged', path: '/old/deep' },
      { layer: 2, state: 'merged', path: '/old/deep' },
    ]);
    s.t.equal(summary(ask(s, 'old/top')), '2:hidden(whiteout of /old in 0)');
    s.t.match(
      ask(s, 'meta/file').write,
      { bytes: 12, inPlace: false, directories: [] },
      'the data is still to be copied',
    );
  },
);

await onUnion(
  t,
  'whatever the union shows, an explanation names the layer and file that it comes from',
  { layers: 3, needsRoot: true },
  async (s) => {
    await s.lay('lower3', {
      'a/one': '3',
      'a/two': '3',
      'a/sub/x': '3',
      'b/one': '3',
      c: '3',
      'd/x': '3',
      'e/f/g': '3',
      link: '->a',
    });
    await s.lay('lower2', { 'a/one': '22', 'b/two': '2', 'c/x': '2', d: '22', 'e/f/h': '2' });
    await s.lay('lower1', { 'a/three': '1', 'c/y': '1', 'e/f/': '' });
    await s.whiteout('lower1/a/two');
    await s.opaque('lower1/e').catch(() => undefined);
    await s.lay('upper', { 'a/four': 'u' });
    await s.mount();
    // Changed through the mount, and looked at beside it.
    await succeed(
      [
        'sh',
        '-c',
        'rm a/one; mkdir a/two; echo more >>b/one; rm -r e; mkdir e; touch e/new; mv c/y c/z; rm d; mkdir d',
      ],
      {
        cwd: s.union.mnt,
      },
    );
    const paths = (
      await succeed([
        'sh',
        '-c',
        'cd "$0"; for d in upper lower*; do (cd $d; find . -mindepth 1); done | sort -u',
        s.union.base,
      ])
    )
      .trim()
      .split('\n');
    s.t.ok(paths.length > 20);
    for (const path of paths) {
      const answer = ask(s, path);
      const shown = await s.mnt.lstat(path).catch(() => undefined);
      s.t.equal(answer.type, shown === undefined ? undefined : shown.mode & 0o170000, path);
      const winners = answer.layers.filter(({ state }) => state === 'wins');
      s.t.equal(winners.length, shown === undefined ? 0 : 1, `${path}: one layer wins`);
      if (shown === undefined || (shown.mode & 0o170000) !== 0o100000) continue;
      const [winner] = winners;
      const directory = winner!.layer === 0 ? 'upper' : `lower${winner!.layer}`;
      s.t.equal(
        await s.mnt.get(path),
        await s.disk.get(`${directory}${winner!.path}`),
        `${path}: the same content`,
      );
    }
  },
);

await onUnion(
  t,
  'the bytes of each layer that are still shown',
  { layers: 3, needsRoot: true },
  async (s) => {
    await s.lay('lower3', {
      'a/kept': '12345',
      'a/shadowed': '1234567',
      'gone/x': '123',
      'names/one': '12',
    });
    await succeed(['sh', '-c', 'ln names/one names/two; ln names/one names/three'], {
      cwd: `${s.union.base}/lower3`,
    });
    await s.lay('lower2', { 'a/shadowed': '1234', 'names/two': '' });
    await s.lay('lower1', { other: '1' });
    await s.whiteout('lower1/gone');
    s.t.same(
      lookingAt(layersOf(s), shownBytes),
      [0, 1, 4, 7],
      'a hard link counts once, and as long as any of its names is shown',
    );
  },
);
