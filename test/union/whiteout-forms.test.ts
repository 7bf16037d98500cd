/**
 * How layers say "deleted" and "nothing from below", in every form that is read, and on uppers that
 * cannot hold the usual one.
 */
import { readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { unmountAll } from '../support/mounts.js';
import { plyfsProgram } from '../support/plyfs.js';
import { O_WRONLY, RENAME_EXCHANGE } from '../suites/constants.js';
import type { Actor } from '../suites/actor.js';
import {
  fuseOverlayfs,
  kernel,
  plyfs,
  unavailable,
  type Mounter,
  type UnionSpec,
} from '../suites/mounters.js';
import { asLowerTree } from '../suites/union/lower-tree.js';
import type { UnionScene } from '../suites/union/scene.js';
import { workspace } from '../suites/workspace.js';
import { onUnion } from './with-union.js';

t.setTimeout(120_000);

async function layAufs(s: UnionScene): Promise<void> {
  await s.lay('lower3', {
    gone: 'x',
    both: 'bottom',
    'dir/below': 'x',
    'closed/below': 'x',
    'back/below': 'x',
    'kind/inside': 'x',
    deep: 'x',
  });
  await s.lay('lower2', {
    '.wh.gone': '',
    '.wh.both': '',
    both: 'beside its marker',
    '.wh.closed': '',
    'dir/.wh.below': '',
    'dir/middle': 'x',
    '.wh.back': '',
    'back/middle': 'x',
    '.wh.kind': '',
    kind: 'a file now',
    '.wh..wh.plnk/1.2': 'bookkeeping',
    '.wh..wh.orph/': '',
    '.wh..wh.aufs': '',
  });
  await s.lay('lower1', {
    'dir/.wh..wh..opq': '',
    'dir/top': 'x',
    'dir/sub/x': 'x',
    '.wh.never-there': '',
    'back/top': 'x',
    'plain/.wh.': 'x',
  });
}

const aufsNames = {
  '.': ['back', 'both', 'deep', 'dir', 'kind', 'plain'],
  back: ['middle', 'top'],
  dir: ['sub', 'top'],
  plain: [],
};

async function showsAufs(s: UnionScene): Promise<void> {
  for (const order of ['listed first', 'looked up first']) {
    if (order === 'looked up first') {
      for (const name of [
        'gone',
        'closed',
        'never-there',
        'dir/below',
        'dir/middle',
        'back/below',
        '.wh.gone',
        'dir/.wh..wh..opq',
        '.wh..wh.plnk',
      ])
        await s.fails('ENOENT', s.mnt.lstat(name), `${name} (${order})`);
      s.t.equal(await s.mnt.get('both'), 'beside its marker');
      s.t.equal(await s.mnt.get('kind'), 'a file now');
    }
    for (const [dir, names] of Object.entries(aufsNames))
      s.t.same(await s.mnt.names(dir), names, `${dir} (${order})`);
    await s.unmount();
    await s.mount();
  }
}

await onUnion(
  t,
  'layers of the AUFS form, as -o whiteout=aufs',
  { layers: 3, options: ['whiteout=aufs'] },
  async (s) => {
    await layAufs(s);
    await s.mount();
    await showsAufs(s);
    await s.fails('ENOENT', s.mnt.unlink('.wh.gone'));
    await s.mnt.put('gone', 'new');
    await s.mnt.mkdir('closed');
    await s.mnt.unlink('both');
    s.t.same(await s.mnt.names('closed'), []);
    await s.remount();
    s.t.equal(await s.mnt.get('gone'), 'new');
    s.t.same(await s.mnt.names('closed'), [], 'a directory over a marker shows nothing from below');
    await s.fails('ENOENT', s.mnt.lstat('both'));
  },
);

await onUnion(
  t,
  'layers of the AUFS form, known by the markers in their roots',
  { layers: 3 },
  async (s) => {
    await layAufs(s);
    await s.disk.put('lower1/.wh..wh.aufs', '');
    await s.mount();
    await showsAufs(s);
  },
);

await onUnion(
  t,
  'layers of the AUFS form, under the name fuse-overlayfs',
  { layers: 3 },
  async (s) => {
    await layAufs(s);
    const link = `${s.union.base}/fuse-overlayfs`;
    symlinkSync(plyfsProgram, link);
    const called: Mounter = {
      name: 'plyfs',
      mount: async (spec, dir) => {
        await succeed([
          link,
          '-o',
          `lowerdir=${spec.lowers.join(':')},upperdir=${spec.upper ?? ''},workdir=${spec.work ?? ''}`,
          dir,
        ]);
      },
    };
    await s.mount(called);
    s.t.same(await s.mnt.names(), aufsNames['.']);
    s.t.same(await s.mnt.names('dir'), aufsNames.dir);
    await s.mnt.put('.name', 'x');
    await s.mnt.unlink('both');
    await s.remount(called);
    await s.fails('ENOENT', s.mnt.lstat('both'));
  },
);

await t.test(
  'layers that containers/storage made for a mount program have .wh. files',
  async (t) => {
    const base = await workspace(t, 'overlay/l', 'overlay/top/diff', 'overlay/low/diff', 'mnt');
    for (const name of ['top', 'low']) symlinkSync(`../${name}/diff`, `${base}/overlay/l/${name}`);
    for (const name of ['gone', 'kept']) writeFileSync(`${base}/overlay/low/diff/${name}`, 'x');
    writeFileSync(`${base}/overlay/top/diff/.wh.gone`, '');
    /** As podman starts it: from the driver's directory, by the short names of layers. */
    const shown = async (): Promise<string[]> => {
      await succeed([plyfsProgram, '-o', 'lowerdir=l/top:l/low', `${base}/mnt`], {
        cwd: `${base}/overlay`,
      });
      const names = (await succeed(['ls', '-A', `${base}/mnt`])).trim().split('\n');
      await unmountAll(`${base}/mnt`);
      return names;
    };
    t.same(await shown(), ['.wh.gone', 'gone', 'kept']);
    writeFileSync(`${base}/overlay/.has-mount-program`, 'false');
    t.same(
      await shown(),
      ['.wh.gone', 'gone', 'kept'],
      'it mounts by the kernel, and writes devices',
    );
    writeFileSync(`${base}/overlay/.has-mount-program`, 'true');
    t.same(await shown(), ['kept']);
  },
);

await onUnion(
  t,
  'a layer that is not of the AUFS form shows .wh. files',
  { layers: 2 },
  async (s) => {
    await s.lay('lower2', { gone: 'x' });
    await s.lay('lower1', { 'dir/.wh..wh..opq': '', '.wh.gone': 'content' });
    await s.mount();
    s.t.same(await s.mnt.names(), ['.wh.gone', 'dir', 'gone']);
    await s.mnt.put('.wh.new', 'x');
    await s.mnt.unlink('.wh.gone');
    await s.remount();
    s.t.same(await s.mnt.names(), ['.wh.new', 'dir', 'gone']);
  },
);

await onUnion(
  t,
  'an AUFS layer with an opaque root hides all below',
  { layers: 2, options: ['whiteout=aufs'] },
  async (s) => {
    await s.lay('lower2', { below: 'x' });
    await s.lay('lower1', { '.wh..wh..opq': '', top: 'x' });
    await s.mount();
    s.t.same(await s.mnt.names(), ['top']);
    await s.fails('ENOENT', s.mnt.lstat('below'));
  },
);

await onUnion(
  t,
  'a name beside its own AUFS marker, in the upper too',
  { layers: 3, options: ['whiteout=aufs'] },
  async (s) => {
    const names = Array.from({ length: 20 }, (_, i) => `name${i}`);
    for (const name of names) {
      await s.lay('lower3', { [`${name}/bottom`]: 'x' });
      // Directories are read in an order of their own: of so many, some markers come before what
      // they stand beside, and some after.
      await s.lay('lower2', { [`${name}/middle`]: 'x', [`.wh.${name}`]: '' });
    }
    await s.lay(
      'upper',
      Object.fromEntries(
        names.map((name, i) => (i % 2 === 0 ? [`${name}/top`, 'x'] : [name, 'x'])),
      ),
    );
    await s.mount();
    s.t.same(await s.mnt.names(), names.toSorted());
    for (const [i, name] of names.entries()) {
      if (i % 2 === 0)
        s.t.same(
          await s.mnt.names(name),
          ['middle', 'top'],
          `${name}: merged down to where the marker is`,
        );
      else await s.mnt.unlink(name);
    }
    for (const name of names.filter((_, i) => i % 2 === 1))
      await s.fails('ENOENT', s.mnt.lstat(name));
    await s.remount();
    s.t.same(
      await s.mnt.names(),
      names.filter((_, i) => i % 2 === 0).toSorted(),
      'what was removed stays so',
    );
  },
);

for (const layer of ['lower1', 'lower2']) {
  await onUnion(
    t,
    `an AUFS marker beside its directory in ${layer} ends the merge, also of what is not listed`,
    { layers: 3, options: ['whiteout=aufs'] },
    async (s) => {
      await s.lay('lower3', { 'd/bottom': 'x', 'dir/d/bottom': 'x' });
      for (const holder of ['lower1', 'lower2'])
        await s.lay(holder, { [`d/${holder}`]: 'x', [`dir/d/${holder}`]: 'x' });
      await s.lay(layer, { '.wh.d': '', 'dir/.wh.d': '' });
      await s.mount();
      const shown = layer === 'lower1' ? ['lower1'] : ['lower1', 'lower2'];
      for (const d of ['d', 'dir/d']) {
        for (const name of ['lower1', 'lower2', 'bottom']) {
          if (shown.includes(name)) s.t.equal(await s.mnt.get(`${d}/${name}`), 'x');
          else await s.fails('ENOENT', s.mnt.lstat(`${d}/${name}`), `${d}/${name}`);
        }
        s.t.same(await s.mnt.names(d), shown, d);
      }
    },
  );
}

/** Makes `path` a whiteout by xattr, and its directory one that may hold such. */
async function xattrWhiteout(
  s: UnionScene,
  prefix: string,
  dir: string,
  name: string,
): Promise<void> {
  await s.disk.put(`${dir}/${name}`, '');
  await s.disk.setxattr(`${dir}/${name}`, `${prefix}whiteout`, '');
  await s.disk.setxattr(dir, `${prefix}opaque`, 'x');
}

await onUnion(
  t,
  'whiteouts by xattr, as the kernel reads them',
  { layers: 3, needsRoot: true, needsKernel: true },
  async (s) => {
    await s.lay('lower3', {
      'dir/gone': 'x',
      'dir/stays': 'x',
      'dir/sub/x': 'x',
      'plain/gone': 'x',
      rootgone: 'x',
      'dir/later/x': 'x',
    });
    await s.lay('lower2', { 'dir/': '', 'plain/': '' });
    await xattrWhiteout(s, 'trusted.overlay.', 'lower2/dir', 'gone');
    await xattrWhiteout(s, 'trusted.overlay.', 'lower2/dir', 'sub');
    await xattrWhiteout(s, 'trusted.overlay.', 'lower2', 'rootgone');
    await s.lay('lower1', { 'dir/later/y': 'y' });
    const shown = async (by: Mounter) => {
      await s.mount(by);
      const looked = await Promise.all(
        ['dir/gone', 'dir/sub', 'rootgone'].map((path) =>
          s.mnt.lstat(path).then(
            () => `${path} is there`,
            () => `${path} is not`,
          ),
        ),
      );
      const tree = await s.shown();
      await s.unmount();
      return { looked, tree };
    };
    const [theirs, ours] = [await shown(kernel), await shown(plyfs)];
    s.t.same(ours.looked, theirs.looked);
    s.same(ours.tree, theirs.tree, 'the same tree');
    await s.mount();
    await s.mnt.mkdir('dir/sub');
    s.t.same(await s.mnt.names('dir/sub'), []);
    await s.mnt.put('dir/gone', 'back');
    const live = await s.shown();
    await s.remount();
    s.same(await s.shown(), live, 'after a remount');
    await s.remount(kernel);
    s.same(await s.shown(), live, 'the kernel');
  },
);

await onUnion(
  t,
  'marks under user.overlay. and the names of fuse-overlayfs',
  { layers: 2, options: ['userxattr'] },
  async (s) => {
    await s.lay('lower2', {
      'one/below': 'x',
      'two/below': 'x',
      'three/below': 'x',
      'four/gone': 'x',
      'five/below': 'x',
    });
    await s.lay('lower1', {
      'one/top': 'x',
      'two/top': 'x',
      'three/top': 'x',
      'four/top': 'x',
      'five/top': 'x',
    });
    await s.disk.setxattr('lower1/one', 'user.overlay.opaque', 'y');
    await s.disk.setxattr('lower1/two', 'user.fuseoverlayfs.opaque', 'y');
    await s.disk.setxattr('lower1/three', 'user.overlay.opaque', 'n');
    await xattrWhiteout(s, 'user.overlay.', 'lower1/four', 'gone');
    await s.disk.put('lower1/five/.wh..wh..opq', '');
    await s.mount();
    for (const name of ['one', 'two', 'four']) s.t.same(await s.mnt.names(name), ['top'], name);
    s.t.same(await s.mnt.names('three'), ['below', 'top']);
    for (const name of ['one', 'two', 'four'])
      s.t.same(await s.mnt.listxattr(name), [], `${name}: the marks are not shown`);
  },
);

/** Every change that leaves a whiteout, an opaque directory, or takes one away. */
async function change(mnt: Actor, exchange = true): Promise<void> {
  await mnt.write(await mnt.open('file', O_WRONLY), 'CHANGED');
  await mnt.rename('link', 'dir/link');
  await mnt.symlink('over a whiteout', 'link');
  await mnt.unlink('fifo');
  await mnt.unlink('dir/file');
  await mnt.mkdir('dir/file');
  await mnt.put('dir/file/inside', 'a directory where a file was');
  await mnt.rmdir('empty');
  await mnt.mkdir('empty');
  await mnt.put('empty/new', 'new');
  await mnt.unlink('closed/deep/file');
  await mnt.rmdir('closed/deep');
  await mnt.rmdir('closed');
  await mnt.mkdir('closed');
  await mnt.put('old', 'x');
  if (exchange) await mnt.rename('old', 'socket', RENAME_EXCHANGE);
  await mnt.mkdir('made');
  await mnt.put('made/x', 'x');
  await mnt.rename('made', 'moved');
  await mnt.put('twice', '1');
  await mnt.unlink('twice');
  await mnt.put('twice', '2');
  await mnt.link('twice', 'fifo');
}

interface Kind {
  readonly name: string;
  readonly devices: boolean;
  readonly xattrs: boolean;
  /** Puts what takes the upper and the work at `dir`. */
  prepare(s: UnionScene, dir: string): Promise<unknown>;
}

/**
 * A union mount has no device 0:0: it is the file system without whiteouts that is always at hand.
 */
async function inUnion(s: UnionScene, dir: string, options: readonly string[]): Promise<void> {
  for (const name of ['inner-lower', 'inner-upper', 'inner-work']) await s.disk.mkdir(name);
  const at = (name: string) => `${s.union.base}/${name}`;
  await plyfs.mount(
    { lowers: [at('inner-lower')], upper: at('inner-upper'), work: at('inner-work'), options },
    dir,
  );
}

const kinds: readonly Kind[] = [
  {
    name: 'devices, no xattrs',
    devices: true,
    xattrs: false,
    prepare: (_, dir) => succeed(['mount', '-t', 'ramfs', 'ramfs', dir]),
  },
  {
    name: 'xattrs, no devices',
    devices: false,
    xattrs: true,
    prepare: (s, dir) => inUnion(s, dir, []),
  },
  {
    name: 'neither',
    devices: false,
    xattrs: false,
    prepare: (s, dir) => inUnion(s, dir, ['noxattrs']),
  },
];

for (const kind of kinds) {
  await onUnion(t, `an upper with ${kind.name}`, { needsRoot: true }, async (s) => {
    await asLowerTree(s);
    await succeed([
      'find',
      `${s.union.base}/lower1`,
      '-exec',
      'setfattr',
      '-h',
      '-x',
      'user.note',
      '{}',
      '+',
    ]).catch(() => undefined);
    const noTimes = { mtime: false, nlink: true, ignoreXattr: () => true };
    await s.mount();
    await change(s.mnt);
    const wanted = await s.shown(noTimes);
    await s.unmount();

    await s.disk.mkdir('limited');
    const dir = `${s.union.base}/limited`;
    await kind.prepare(s, dir);
    for (const name of ['upper', 'work']) await s.disk.mkdir(`limited/${name}`);
    const spec: UnionSpec = { lowers: s.union.lowers, upper: `${dir}/upper`, work: `${dir}/work` };
    let said = '';
    const there: Mounter = {
      name: 'plyfs',
      mount: async (_, at) => {
        const outcome = await run([
          plyfsProgram,
          '-o',
          `lowerdir=${spec.lowers.join(':')},upperdir=${spec.upper ?? ''},workdir=${spec.work ?? ''}`,
          at,
        ]);
        if (outcome.status !== 0) throw new Error(outcome.stderr);
        said = outcome.stderr;
      },
    };
    await s.mount(there);
    s.t.equal(/no extended attributes/.test(said), !kind.xattrs, `xattrs: ${said}`);
    s.t.equal(/no whiteout devices/.test(said), !kind.devices, 'devices');
    await change(s.mnt);
    s.same(await s.shown(noTimes), wanted, 'the same tree as on a whole upper');
    await s.remount(there);
    s.same(await s.shown(noTimes), wanted, 'after a remount');

    const attempts: Record<string, Promise<unknown>> = {
      create: s.mnt.put('.wh.x', ''),
      mkdir: s.mnt.mkdir('dir/.wh.x'),
      symlink: s.mnt.symlink('x', '.wh..wh..opq'),
      link: s.mnt.link('file', '.wh.x'),
      rename: s.mnt.rename('file', '.wh.x'),
      mknod: s.mnt.mknod('.wh.x', 0o010600),
    };
    for (const [what, attempt] of Object.entries(attempts))
      await s.fails('EPERM', attempt, `${what} of a name that starts with .wh.`);
    await s.mnt.put('.when', 'x');
    await s.mnt.unlink('dir/file/inside');
    await s.mnt.rmdir('dir/file');
    await s.mnt.unlink('file');
    await succeed(['rm', '-rf', `${s.union.mnt}/dir`, `${s.union.mnt}/moved`]);
    const emptied = await s.shown(noTimes);
    s.t.notOk([...emptied.keys()].some((path) => /^(file|dir|moved)/.test(path)));
    await s.remount(there);
    s.same(await s.shown(noTimes), emptied, 'after more deletions and a remount');
    const markers = (
      await succeed(['find', spec.upper ?? '', '-name', '.wh.*', '-printf', '%P %s\n'])
    )
      .split('\n')
      .filter((line) => line !== '');
    if (kind.devices)
      s.t.ok(
        markers.every((line) => line.endsWith('.wh..wh..opq 0')),
        'only opaque markers',
      );
    else s.t.ok(markers.includes('.wh.file 0'), 'deletions are markers');
    await s.unmount();
  });
}

await onUnion(
  t,
  'an upper that takes neither devices nor names of markers is refused before it is mounted',
  { needsRoot: true },
  async (s) => {
    for (const name of ['inner-lower', 'inner-upper', 'inner-work', 'limited'])
      await s.disk.mkdir(name);
    const at = (name: string) => `${s.union.base}/${name}`;
    // A union of markers takes neither from others, as fuse-overlayfs.
    const spec = {
      lowers: [at('inner-lower')],
      upper: at('inner-upper'),
      work: at('inner-work'),
      options: ['upper_whiteout=aufs'],
    };
    await plyfs.mount(spec, at('limited'));
    for (const name of ['upper', 'work']) await s.disk.mkdir(`limited/${name}`);
    const options = `lowerdir=${s.union.lowers[0] ?? ''},upperdir=${at('limited/upper')},workdir=${at('limited/work')}`;
    const refused = await run([plyfsProgram, '-o', options, s.union.mnt]);
    const sentence =
      /^plyfs: upperdir [^\n]* takes neither whiteout devices \([^)]*EPERM\) nor files called \.wh\.NAME[^\n]*: put it on another file system\.\n$/;
    s.t.match(refused, { status: 1, stderr: sentence });
    s.t.same(await s.disk.names('limited/work/work'), [], 'nothing of the trial is left');
  },
);

await onUnion(
  t,
  'names of markers in a lower, which an upper of markers can neither delete nor hold',
  { options: ['upper_whiteout=aufs'] },
  async (s) => {
    await s.lay('lower1', {
      low: 'low',
      '.wh.low': 'a file',
      '.wh.dir/': '',
      '.wh.tree/file': 'x',
      dir: 'x',
      'linked/.wh.one': 'x',
    });
    await s.disk.link('lower1/linked/.wh.one', 'lower1/linked/two');
    await s.mount();
    const before = await s.shown();
    const attempts: Record<string, () => Promise<unknown>> = {
      unlink: () => s.mnt.unlink('.wh.low'),
      rmdir: () => s.mnt.rmdir('.wh.dir'),
      'rename from': () => s.mnt.rename('.wh.low', 'free'),
      'rename to': () => s.mnt.rename('low', '.wh.low'),
      exchange: () => s.mnt.rename('.wh.low', 'low', RENAME_EXCHANGE),
      write: () => s.mnt.put('.wh.low', 'other'),
      chmod: () => s.mnt.chmod('.wh.low', 0o600),
      'chmod of a directory': () => s.mnt.chmod('.wh.dir', 0o700),
      'create below': () => s.mnt.put('.wh.tree/new', ''),
      'unlink below': () => s.mnt.unlink('.wh.tree/file'),
      link: () => s.mnt.link('.wh.low', 'free'),
    };
    for (const [what, attempt] of Object.entries(attempts)) await s.fails('EPERM', attempt(), what);
    await s.mnt.lstat('linked/.wh.one');
    await s.fails(
      'EPERM',
      s.mnt.put('linked/two', 'changed'),
      'a change that must be found under such a name, too',
    );
    s.same(await s.shown(), before, 'nothing has changed');
    await s.remount();
    s.same(await s.shown(), before, 'nor is anything else after a remount');
  },
);

await t.test('uppers exchanged with fuse-overlayfs', async (t) => {
  const missing = await unavailable(t, fuseOverlayfs);
  if (missing !== undefined) {
    t.plan(0, missing);
    return;
  }
  const shown = { mtime: false, nlink: false };
  for (const [writer, reader] of [
    [plyfs, fuseOverlayfs],
    [fuseOverlayfs, plyfs],
  ] as const) {
    await onUnion(
      t,
      `written by ${writer.name}, mounted by ${reader.name}`,
      { needsRoot: true },
      async (s) => {
        await asLowerTree(s);
        await s.mount(writer);
        // fuse-overlayfs opens the socket that it exchanges, and fails.
        await change(s.mnt, false);
        // What fuse-overlayfs shows of modes changes with the next mount.
        await s.remount(writer);
        const live = await s.shown(shown);
        await s.remount(reader);
        s.same(await s.shown(shown), live, 'mounted by the other');
        await s.mnt.unlink('closed').catch(() => s.mnt.rmdir('closed'));
        await s.mnt.unlink('empty/new');
        await s.mnt.put('dir/more', 'more');
        const changed = await s.shown(shown);
        await s.remount(writer);
        s.same(await s.shown(shown), changed, 'back at its writer');
      },
    );
  }
});

await onUnion(
  t,
  'whiteout devices are names of one, until none of its names is left',
  { needsRoot: true, layers: 2 },
  async (s) => {
    await s.lay('lower1', { a: 'x', b: 'x', c: 'x', 'dir/d': 'x', 'dir/e': 'x' });
    await s.lay('lower2', { 'dir/d': 'below' });
    await s.mount();
    for (const name of ['a', 'b', 'dir/d']) await s.mnt.unlink(name);
    const inode = async (name: string) => (await s.disk.lstat(`upper/${name}`)).ino;
    s.t.equal(await inode('b'), await inode('a'));
    s.t.equal(await inode('dir/d'), await inode('a'));
    s.t.same(readdirSync(`${s.union.base}/work/work`), [], 'the workdir holds no name of it');
    // An upper file gives way to a whiteout that is made before.
    await s.mnt.put('c', 'changed');
    await s.mnt.unlink('c');
    await s.isWhiteout('upper/c');
    for (const name of ['a', 'b', 'c', 'dir/d']) await s.mnt.put(name, 'new');
    await s.mnt.unlink('dir/e');
    await s.isWhiteout('upper/dir/e');
    await s.mnt.rename('a', 'dir/e');
    await s.isWhiteout('upper/a');
    for (const name of ['b', 'dir/e']) await s.mnt.unlink(name);
    const shown = await s.shown();
    await s.remount();
    s.same(await s.shown(), shown, 'after a remount');
    s.t.same(await s.mnt.names(), ['c', 'dir']);
    s.t.same(await s.mnt.names('dir'), ['d']);
  },
);
