/**
 * `index=on`: hard links of lower files stay whole across mounts, in the kernel's form, whoever
 * mounts in between.
 */
import { readdirSync } from 'node:fs';
import t from 'tap';
import type { Actor } from '../suites/actor.js';
import { O_WRONLY } from '../suites/constants.js';
import { kernel, plyfs, type Mounter } from '../suites/mounters.js';
import type { UnionScene } from '../suites/union/scene.js';
import { run, succeed } from '../support/command.js';
import { figure } from '../support/figures.js';
import { plyfsProgram } from '../support/plyfs.js';
import { onUnion } from './with-union.js';

t.setTimeout(180_000);

const indexed = { options: ['index=on'], needsRoot: true, needsKernel: true } as const;

/** `a`, `c` and `dir/b` are one file, `s` and `dir/t` one symbolic link. */
async function layLinks(s: UnionScene): Promise<void> {
  await s.lay('lower1', { a: 'one', 'dir/near': 'near', 'other/far': 'far', s: '->target' });
  await s.disk.link('lower1/a', 'lower1/dir/b');
  await s.disk.link('lower1/a', 'lower1/c');
  await s.disk.link('lower1/s', 'lower1/dir/t');
}

async function overwrite(actor: Actor, name: string, content: string): Promise<void> {
  const fd = await actor.open(name, O_WRONLY);
  await actor.write(fd, content, 0);
  await actor.close(fd);
}

const paths = ['a', 'c', 'dir/b', 's', 'dir/t', 'dir/e', 'other/moved', 'new'];

/** Of each path that is there: which lower file's number it has, how many links, what it holds. */
async function look(s: UnionScene): Promise<string[]> {
  const numbers = new Map<bigint, string>();
  for (const path of ['a', 's']) numbers.set((await s.disk.lstat(`lower1/${path}`)).ino, path);
  const seen: string[] = [];
  for (const path of paths) {
    const stat = await s.mnt.lstat(path).catch(() => undefined);
    if (stat === undefined) continue;
    const held =
      (stat.mode & 0o170000) === 0o120000 ? await s.mnt.readlink(path) : await s.mnt.get(path);
    seen.push(
      `${path} number of ${numbers.get(stat.ino) ?? 'its own'}, ${stat.nlink} links, uid ${stat.uid}: ${held}`,
    );
  }
  return seen;
}

/** One after the other; each is followed by a remount. */
const steps: readonly (readonly [what: string, act: (mnt: Actor) => Promise<unknown>])[] = [
  ['a write through one name', (mnt) => overwrite(mnt, 'dir/b', 'TWO')],
  ['chown of a symbolic link', (mnt) => mnt.lchown('s', 5, 5)],
  ['the removal of a name that was not used', (mnt) => mnt.unlink('a')],
  ['a new name', (mnt) => mnt.link('c', 'dir/e')],
  ['a rename', (mnt) => mnt.rename('dir/e', 'other/moved')],
  ['a rename over a name', (mnt) => mnt.put('new', 'new').then(() => mnt.rename('new', 'c'))],
  ['a write through the new name', (mnt) => overwrite(mnt, 'other/moved', 'SIX')],
  ['the removal of a name of the link that was not used', (mnt) => mnt.unlink('dir/t')],
  ['the removal of the last name of the link', (mnt) => mnt.unlink('s')],
  [
    'the removal of the last names',
    (mnt) => mnt.unlink('dir/b').then(() => mnt.unlink('other/moved')),
  ],
];

/** What is seen after each step, by the mounter that took it and by the one that mounts next. */
async function walk(s: UnionScene, mounters: readonly Mounter[]): Promise<string[][]> {
  await layLinks(s);
  const seen: string[][] = [];
  await s.mount(mounters[0]);
  for (const [i, [what, act]] of steps.entries()) {
    await act(s.mnt);
    const before = await look(s);
    await s.remount(mounters[(i + 1) % mounters.length]);
    s.t.same(
      await look(s),
      before,
      `after ${what} by ${mounters[i % mounters.length]?.name ?? ''} the next mount shows the same`,
    );
    seen.push(before);
  }
  await s.unmount();
  s.t.same(readdirSync(`${s.union.base}/work/index`), [], 'nothing is left in the index');
  return seen;
}

const walks: Record<string, string[][]> = {};
let mounts = 0;
for (const mounters of [[kernel], [plyfs, kernel], [kernel, plyfs]]) {
  const name = mounters.map((mounter) => mounter.name).join(' and ');
  await onUnion(
    t,
    `names, numbers and counts stay across mounts by ${name}`,
    indexed,
    async (s) => {
      walks[name] = await walk(s, mounters);
      s.t.same(
        walks[name],
        walks['kernel'],
        "each step shows what it shows on the kernel's overlay",
      );
      mounts += steps.length + 1;
    },
  );
}
figure(t, mounts, 'mounts with index=on');

await onUnion(
  t,
  'names that nobody has looked up lead to the copy, also when the kernel forgot it',
  indexed,
  async (s) => {
    await layLinks(s);
    await s.mount();
    await overwrite(s.mnt, 'c', 'TWO');
    await s.forget();
    s.t.equal(await s.mnt.get('dir/b'), 'TWO');
    await s.remount();
    s.t.equal(await s.mnt.get('a'), 'TWO');
    s.t.same(await s.inUpper(), ['c'], 'and only what was used is in the upper');
    const listed = await s.mnt.list('.');
    for (const { name, ino } of listed.filter((entry) => ['a', 'c'].includes(entry.name))) {
      s.t.equal(ino, (await s.mnt.lstat(name)).ino, `${name}: d_ino`);
    }
  },
);

await onUnion(
  t,
  'names that are removed one by one, without another look, are counted',
  indexed,
  async (s) => {
    await layLinks(s);
    await s.mount();
    await s.mnt.unlink('dir/b');
    await s.mnt.unlink('a');
    s.t.equal((await s.mnt.lstat('c')).nlink, 1);
    for (const by of [plyfs, kernel]) {
      await s.remount(by);
      s.t.equal((await s.mnt.lstat('c')).nlink, 1, `in the next mount, by ${by.name}`);
    }
  },
);

await onUnion(
  t,
  'a name written through and removed leaves the others, which nobody has looked up',
  indexed,
  async (s) => {
    await layLinks(s);
    await s.mount();
    await overwrite(s.mnt, 'a', 'TWO');
    await s.mnt.unlink('a');
    for (const by of [plyfs, kernel]) {
      await s.remount(by);
      s.t.match(await s.mnt.lstat('dir/b'), { nlink: 2 }, `in the next mount, by ${by.name}`);
      s.t.equal(await s.mnt.get('dir/b'), 'TWO');
    }
    await overwrite(s.mnt, 'dir/b', 'TWO');
    // As a crash leaves it while the copy gets a name: relative to the lower file's three.
    await s.unmount();
    const [entry = ''] = readdirSync(`${s.union.base}/work/index`);
    await s.disk.setxattr(`work/index/${entry}`, 'trusted.overlay.nlink', 'L-1');
    await s.mount();
    await s.mnt.unlink('dir/b');
    await s.remount();
    s.t.match(await s.mnt.lstat('c'), { nlink: 1 });
    await s.mnt.unlink('c');
    await s.unmount();
    s.t.same(readdirSync(`${s.union.base}/work/index`), [], 'with the last name goes the copy');
  },
);

await onUnion(t, 'the last name of a file that is open is removed', indexed, async (s) => {
  await layLinks(s);
  await s.mount();
  await overwrite(s.mnt, 'a', 'TWO');
  const fd = await s.mnt.open('c', O_WRONLY);
  for (const name of ['a', 'c', 'dir/b']) await s.mnt.unlink(name);
  s.t.same((await s.mnt.fstat(fd)).nlink, 0);
  await s.mnt.write(fd, 'late', 0);
  await s.mnt.close(fd);
  await s.unmount();
  s.t.same(readdirSync(`${s.union.base}/work/index`), []);
});

await onUnion(
  t,
  'with index=off no two files have one number after index=on',
  indexed,
  async (s) => {
    await layLinks(s);
    await s.mount();
    await overwrite(s.mnt, 'a', 'TWO');
    await s.unmount();
    await succeed([
      plyfsProgram,
      '-o',
      `lowerdir=${s.union.lowers[0] ?? ''},upperdir=${s.union.upper},workdir=${s.union.base}/work`,
      s.union.mnt,
    ]);
    const actor = await s.start();
    s.t.not(
      (await actor.lstat('a')).ino,
      (await actor.lstat('c')).ino,
      'a file of its own, as on the kernel',
    );
    s.t.same([await actor.get('a'), await actor.get('c')], ['TWO', 'one']);
  },
);

await onUnion(
  t,
  'what no name leads to and what was not finished goes at the next mount',
  indexed,
  async (s) => {
    await layLinks(s);
    await s.mount();
    await overwrite(s.mnt, 'a', 'TWO');
    await s.unmount();
    const index = `${s.union.base}/work/index`;
    const [entry = ''] = readdirSync(index);
    await s.disk.mkdir(`work/index/#5`);
    // A copy under the name of another file, and one without a name.
    await succeed(['cp', '-a', `${index}/${entry}`, `${index}/${entry.slice(0, -2)}00`]);
    for (const mounter of [kernel, plyfs]) {
      await s.mount(mounter);
      await s.unmount();
      s.t.same(readdirSync(index), [entry], `swept by ${mounter.name}`);
      await s.disk.mkdir(`work/index/#5`);
      await succeed(['cp', '-a', `${index}/${entry}`, `${index}/${entry.slice(0, -2)}00`]);
    }
    await succeed([
      'rm',
      '-r',
      `${index}/#5`,
      `${index}/${entry.slice(0, -2)}00`,
      `${s.union.upper}/a`,
    ]);
    await succeed(['setfattr', '-n', 'trusted.overlay.nlink', '-v', 'U-1', `${index}/${entry}`]);
    await s.mount();
    s.t.same(readdirSync(index), []);
  },
);

const refusals: Record<
  string,
  { readonly spoil: (s: UnionScene) => Promise<unknown>; readonly says: RegExp }
> = {
  'the upper was used over another lower': {
    spoil: (s) =>
      succeed(['sh', '-c', 'mv lower1 was && mkdir lower1', 'sh'], { cwd: s.union.base }),
    says: /used with index=on over another lowerdir/,
  },
  'the upper is a copy': {
    spoil: (s) =>
      succeed(['sh', '-c', 'mv upper was && cp -a was upper', 'sh'], { cwd: s.union.base }),
    says: /belongs to another upperdir/,
  },
  'the index holds what no overlay put there': {
    spoil: (s) => s.disk.put('work/index/notes', 'mine'),
    says: /index in the workdir .* cannot be used/,
  },
};
for (const [what, { spoil, says }] of Object.entries(refusals)) {
  await onUnion(t, `refused, as by the kernel: ${what}`, indexed, async (s) => {
    await layLinks(s);
    await s.mount();
    await s.unmount();
    await spoil(s);
    await s.t.rejects(s.union.mount(plyfs), { message: says });
    await s.t.rejects(s.union.mount(kernel));
  });
}

await onUnion(
  t,
  'where files cannot be opened by their handles the mount says so and goes on',
  indexed,
  async (s) => {
    await layLinks(s);
    await succeed(['chmod', '777', 'upper', 'work'], { cwd: s.union.base });
    const script =
      '"$1" -o index=on,lowerdir=lower1,upperdir=upper,workdir=work mnt && cat mnt/a && umount mnt';
    const { status, stdout, stderr } = await run(
      ['unshare', '-rm', 'sh', '-c', script, 'sh', plyfsProgram],
      { cwd: s.union.base },
    );
    s.t.equal(status, 0);
    s.t.equal(stdout, 'one');
    s.t.match(stderr, /index=on is not possible: .*file handles/);
  },
);
