/**
 * Directories that the kernel moved by note (`overlay.redirect`) and files whose data stayed below
 * (`overlay.metacopy`).
 */
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { O_RDWR, O_TRUNC, O_WRONLY } from '../suites/constants.js';
import { kernel, plyfs, unmount, type Mounter } from '../suites/mounters.js';
import { treeOf } from '../suites/tree.js';
import type { UnionScene } from '../suites/union/scene.js';
import { onUnion } from './with-union.js';

t.setTimeout(120_000);

const wanted = { layers: 3, needsRoot: true, needsKernel: true };
const options = ['redirect_dir=on', 'metacopy=on'];
const big = 'data of a file that is not small '.repeat(4000);

async function lay(s: UnionScene): Promise<void> {
  await s.lay('lower3', {
    'one/file': 'one',
    'one/sub/deep/file': 'deep',
    'one/sub/deep/other': 'other',
    'two/file': big,
    'two/kept': 'kept',
    'three/nested/inner/file': 'nested',
    'meta/plain': big,
    'meta/moved': big,
    'meta/away': 'away',
    'meta/empty': '',
    top: 'top',
  });
  await s.lay('lower2', {
    'one/second': 'second',
    'two/file2': 'x',
    'three/nested/inner/more': 'more',
  });
  await s.lay('lower1', { 'one/sub/deep/first': 'first' });
}

/** Mounts at the scene's place as the author of redirects and metadata-only copies. */
async function mountAs(
  s: UnionScene,
  by: Mounter,
  lowers: readonly string[],
  upper: string,
  writable = true,
): Promise<void> {
  const { base, mnt } = s.union;
  await s.disk.mkdir(`work-${upper}`).catch(() => undefined);
  await s.disk.mkdir(upper).catch(() => undefined);
  const paths = lowers.map((name) => `${base}/${name}`);
  const spec = writable
    ? {
        lowers: paths,
        upper: `${base}/${upper}`,
        work: `${base}/work-${upper}`,
        options: by.name === 'kernel' ? options : [],
      }
    : { lowers: [`${base}/${upper}`, ...paths], options: by.name === 'kernel' ? options : [] };
  await by.mount(spec, mnt);
}

/** Every kind of note the kernel takes, made through its own mount. */
async function author(s: UnionScene): Promise<void> {
  const act = await s.start();
  await act.rename('one', 'uno');
  await act.rename('uno/sub/deep', 'far');
  await act.rename('two', 'dir-of-its-own');
  await act.mkdir('made');
  await act.rename('dir-of-its-own', 'made/dos');
  await act.rename('three/nested', 'three/renamed');
  await act.rename('three/renamed/inner', 'three/renamed/within');
  await act.mkdir('one');
  await act.put('one/new', 'a new directory at the old name');
  await act.chmod('meta/plain', 0o640);
  await act.chmod('meta/moved', 0o604);
  await act.rename('meta/moved', 'meta/here');
  await act.lchown('meta/away', 5, 6);
  await act.rename('meta/away', 'made/away');
  await act.chmod('meta/empty', 0o600);
  await act.setxattr('made/dos/file', 'user.note', 'x');
  await act.rename('made/dos/file', 'file-at-the-top');
  await act.link('meta/plain', 'meta/second-name');
}

async function shownBy(
  s: UnionScene,
  by: Mounter,
  lowers: readonly string[],
  upper: string,
  writable = true,
) {
  await mountAs(s, by, lowers, upper, writable);
  const inside = await s.start();
  const tree = await treeOf(inside, s.union.mnt, { nlink: true });
  const blocks = await Promise.all(
    ['meta/plain', 'meta/here', 'made/away', 'file-at-the-top'].map(async (path) =>
      (await inside.lstat(path)).blocks > 0 ? path : '',
    ),
  );
  await inside.end();
  return { tree, blocks };
}

const layers = ['lower1', 'lower2', 'lower3'];

await onUnion(
  t,
  'an upper of the kernel with redirects and metadata-only copies shows the same tree here, and again there',
  wanted,
  async (s) => {
    await lay(s);
    await mountAs(s, kernel, layers, 'ovl');
    await author(s);
    await s.unmount();
    const theirs = await shownBy(s, kernel, layers, 'ovl');
    await s.unmount();
    s.t.same(
      theirs.blocks,
      ['meta/plain', 'meta/here', 'made/away', 'file-at-the-top'],
      'the kernel counts blocks of the data',
    );

    for (const writable of [true, false]) {
      const ours = await shownBy(s, plyfs, layers, 'ovl', writable);
      s.same(ours.tree, theirs.tree, writable ? 'writable' : 'as a layer of a read-only mount');
      s.t.same(ours.blocks, theirs.blocks, 'blocks are those of the data');
      await s.unmount();
    }

    await mountAs(s, plyfs, layers, 'ovl');
    const act = await s.start();
    await act.write(await act.open('meta/plain', O_RDWR), 'WRITTEN', 100);
    await act.write(await act.open('meta/here', O_RDWR), 'MOVED', 0);
    await act.open('made/away', O_WRONLY | O_TRUNC);
    await act.truncate('file-at-the-top', 50_000);
    s.t.equal(await act.get('meta/second-name'), big.slice(0, 100) + 'WRITTEN' + big.slice(107));
    s.t.equal(await act.get('meta/here'), 'MOVED' + big.slice(5));
    s.t.equal(await act.get('file-at-the-top'), big.slice(0, 50_000));
    await act.put('uno/added', 'added');
    await act.put('far/added', 'added');
    await act.unlink('uno/file');
    await act.unlink('far/other');
    await act.chmod('made/dos/kept', 0o600);
    await act.end();
    const inside = await s.start();
    const changed = await treeOf(inside, s.union.mnt, { nlink: true });
    await inside.end();
    await s.unmount();
    for (const name of ['plain', 'here']) {
      s.t.equal(
        (await s.disk.listxattr(`ovl/meta/${name}`)).some((attribute) =>
          attribute.includes('metacopy'),
        ),
        false,
        `${name} has its data`,
      );
    }
    s.same(
      (await shownBy(s, kernel, layers, 'ovl')).tree,
      changed,
      'the kernel shows what was written here',
    );
    await s.unmount();
    s.same((await shownBy(s, plyfs, layers, 'ovl')).tree, changed, 'and so do we once more');
    await s.unmount();
  },
);

await onUnion(
  t,
  'a layer of the kernel below another of its own, with notes in both',
  wanted,
  async (s) => {
    await lay(s);
    await mountAs(s, kernel, layers, 'first');
    await author(s);
    await s.unmount();
    const stack = ['first', ...layers];
    await mountAs(s, kernel, stack, 'second');
    const act = await s.start();
    await act.rename('uno', 'ein');
    await act.rename('far', 'ein/far');
    await act.rename('made/dos', 'dos');
    await act.chmod('meta/here', 0o611);
    await act.rename('meta/here', 'there');
    await act.chmod('meta/plain', 0o622);
    await act.rename('three/renamed/within', 'within');
    await act.unlink('ein/file');
    await act.end();
    await s.unmount();
    const tree = async (by: Mounter, writable: boolean) => {
      await mountAs(s, by, stack, 'second', writable);
      const inside = await s.start();
      const shown = await treeOf(inside, s.union.mnt, { nlink: writable });
      await inside.end();
      await s.unmount();
      return shown;
    };
    s.same(await tree(plyfs, true), await tree(kernel, true), 'writable');
    s.same(await tree(plyfs, false), await tree(kernel, false), 'read-only');
  },
);

await onUnion(
  t,
  'redirect_dir=on: directories of lower layers are renamed, and the kernel follows',
  { ...wanted, options: ['redirect_dir=on'] },
  async (s) => {
    await lay(s);
    await s.mount();
    await s.mnt.rename('one', 'uno');
    await s.mnt.rename('uno/sub/deep', 'far');
    await s.mnt.rename('far', 'farther');
    await s.mnt.rename('three/nested', 'three/renamed');
    await s.mnt.rename('three/renamed/inner', 'three/renamed/within');
    await s.mnt.mkdir('one');
    await s.mnt.put('one/new', 'new');
    await s.mnt.mkdir('made');
    await s.mnt.rename('two', 'made/dos');
    await s.mnt.put('made/dos/kept', 'changed');
    await s.mnt.unlink('uno/file');
    const live = await s.shown();
    s.t.same(await s.mnt.names('farther'), ['file', 'first', 'other']);
    await s.remount();
    s.same(await s.shown(), live, 'after a remount');
    await s.remount(kernel);
    s.same(await s.shown(), live, 'the kernel');
    await s.mnt.rename('farther', 'farthest');
    await s.mnt.rename('made/dos', 'zwei');
    const theirs = await s.shown();
    await s.remount();
    s.same(await s.shown(), theirs, 'back here, after more renames there');
  },
);

for (const mode of [
  '',
  'redirect_dir=off',
  'redirect_dir=nofollow',
  'redirect_dir=follow',
  'redirect_dir=on',
  'metacopy=off',
  'index=on',
]) {
  const options = mode === '' ? [] : [mode];
  await onUnion(
    t,
    `redirects and metacopies are read ${mode === '' ? 'without an option' : `with ${mode}`}`,
    { layers: 3, needsRoot: true, options },
    async (s) => {
      await s.lay('lower3', {
        'a/b/file': 'deep',
        'a/b/c/more': 'more',
        'data/big': 'the data of it',
        'data/plain': 'plain data!',
      });
      await s.lay('lower2', { 'x/': '', 'y/': '', 'data/plain': '' });
      await s.lay('lower1', { 'x/z/': '', 'moved/big2': '', 'top/own': 'own' });
      const mark = async (path: string, name: string, value: string) =>
        s.disk.setxattr(path, `trusted.overlay.${name}`, value);
      // Absolute, in a lower layer; relative, to a sibling that is itself moved; and absolute from
      // the topmost layer through the middle one.
      await mark('lower2/x', 'redirect', '/a/b');
      await mark('lower2/y', 'redirect', 'a');
      await mark('lower1/top', 'redirect', '/x/c');
      await mark('lower1/x/z', 'redirect', 'c');
      for (const [path, size, to] of [
        ['lower1/moved/big2', 14, '/data/big'],
        ['lower2/data/plain', 11, undefined],
      ] as const) {
        await s.disk.truncate(path, size);
        await s.disk.chmod(path, 0o604);
        await mark(path, 'metacopy', '');
        if (to !== undefined) await mark(path, 'redirect', to);
      }
      await s.mount();
      s.t.same(await s.mnt.names('x'), ['c', 'file', 'z']);
      s.t.same(await s.mnt.names('x/z'), ['more']);
      s.t.same(await s.mnt.names('y'), ['b']);
      s.t.equal(await s.mnt.get('y/b/file'), 'deep');
      s.t.same(await s.mnt.names('top'), ['more', 'own']);
      s.t.equal(await s.mnt.get('moved/big2'), 'the data of it');
      s.t.equal(await s.mnt.get('data/plain'), 'plain data!');
      s.t.match(
        [
          (await s.mnt.lstat('moved/big2')).mode & 0o777,
          (await s.mnt.lstat('data/plain')).mode & 0o777,
        ],
        [0o604, 0o604],
      );
      const live = await s.shown();
      await s.mnt.chmod('top/more', 0o600);
      await s.mnt.chmod('moved/big2', 0o600);
      await s.mnt.unlink('x/file');
      await s.remount();
      s.t.equal(await s.mnt.get('top/more'), 'more');
      s.t.equal(await s.mnt.get('moved/big2'), 'the data of it');
      s.t.same(await s.mnt.names('x'), ['c', 'z']);
      s.t.equal(live.get('x/file')?.startsWith('file'), true);
    },
  );
}

/**
 * What a redirect of the topmost layer leads to, by the directory that carries it: its value, what
 * the middle layer has, and what shows, which is what the kernel shows. The bottom layer has
 * `below` in every directory that is named here.
 */
const opaqueTargets: Record<
  string,
  {
    readonly redirect: string;
    readonly opaque: string;
    readonly middle: Readonly<Record<string, string>>;
    readonly further?: readonly [path: string, redirect: string];
    readonly bottom: string;
    readonly shows: readonly string[];
  }
> = {
  relative: {
    redirect: 'old-relative',
    opaque: 'old-relative',
    middle: { 'old-relative/middle': 'x' },
    bottom: 'old-relative',
    shows: ['middle', 'top'],
  },
  absolute: {
    redirect: '/far/old',
    opaque: 'far/old',
    middle: { 'far/old/middle': 'x' },
    bottom: 'far/old',
    shows: ['middle', 'top'],
  },
  'on the way': {
    redirect: '/out/in/old',
    opaque: 'out/in',
    middle: { 'out/in/old/middle': 'x' },
    bottom: 'out/in/old',
    shows: ['middle', 'top'],
  },
  'on the way, where it ends': {
    redirect: '/ends/in/old',
    opaque: 'ends/in',
    middle: { 'ends/in/': '' },
    bottom: 'ends/in/old',
    shows: ['top'],
  },
  'and out of it again': {
    redirect: '/again/in/old',
    opaque: 'again/in',
    middle: { 'again/in/old/middle': 'x' },
    further: ['again/in/old', '/elsewhere/old'],
    bottom: 'elsewhere/old',
    shows: ['below', 'middle', 'top'],
  },
};

await onUnion(
  t,
  'an opaque directory below a redirect, and on its way, ends it as on the kernel',
  wanted,
  async (s) => {
    for (const [name, target] of Object.entries(opaqueTargets)) {
      await s.lay('lower1', { [`${name}/top`]: 'x' });
      await s.lay('lower2', target.middle);
      await s.lay('lower3', { [`${target.bottom}/below`]: 'x' });
      await s.disk.setxattr(`lower1/${name}`, 'trusted.overlay.redirect', target.redirect);
      await s.opaque(`lower2/${target.opaque}`);
      if (target.further !== undefined) {
        const [path, redirect] = target.further;
        await s.disk.setxattr(`lower2/${path}`, 'trusted.overlay.redirect', redirect);
      }
    }
    for (const by of [kernel, plyfs]) {
      await s.mount(by);
      for (const [name, { shows }] of Object.entries(opaqueTargets))
        s.t.same(await s.mnt.names(name), shows, `${name}, by ${by.name}`);
      await s.unmount();
    }
  },
);

await onUnion(t, 'hostile redirects lead nowhere', { layers: 2, needsRoot: true }, async (s) => {
  await s.lay('lower2', { 'dir/file': 'x', 'secret/file': 'secret' });
  await s.disk.put('outside', 'outside');
  const hostile = [
    '..',
    '/..',
    '/../lower2/secret',
    '../secret',
    'a/b',
    '/secret/../secret',
    '',
    '/',
    '.',
    '/dir/../../outside',
    'x'.repeat(4000),
  ];
  for (const [i, value] of hostile.entries()) {
    await s.lay('lower1', { [`dir${i}/own`]: 'own', [`file${i}`]: '' });
    await s.disk.setxattr(`lower1/dir${i}`, 'trusted.overlay.redirect', value);
    await s.disk.setxattr(`lower1/file${i}`, 'trusted.overlay.redirect', value);
    await s.disk.setxattr(`lower1/file${i}`, 'trusted.overlay.metacopy', '');
    await s.disk.truncate(`lower1/file${i}`, 7);
  }
  await s.mount();
  for (const [i, value] of hostile.entries()) {
    s.t.same(await s.mnt.names(`dir${i}`), ['own'], `directory: ${value.slice(0, 30)}`);
    await s.fails('EIO', s.mnt.get(`file${i}`), `file: ${value.slice(0, 30)}`);
  }
  await succeed(['rm', '-rf', `${s.union.mnt}/dir0`]);
  s.t.match(await run(['cat', `${s.union.mnt}/dir/file`]), { status: 0, stdout: 'x' });
  await s.unmount().catch(() => unmount(s.union.mnt));
});
