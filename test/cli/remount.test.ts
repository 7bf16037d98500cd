/** Options of the VFS, given at mount and to a running mount, beside the kernel's overlay. */
import { existsSync } from 'node:fs';
import { chmod, stat, utimes, writeFile } from 'node:fs/promises';
import t from 'tap';
import type { Test } from 'tap';
import { mountAt } from '../../src/host/mount-table.js';
import { run, succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { kernel, plyfs, programUnderTest, type Mounter } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';

const skip = !isRoot && 'only root may remount';

interface Mounted {
  readonly mounter: Mounter;
  readonly base: string;
  readonly mnt: string;
}

async function mountBoth(
  t: Test,
  words: readonly string[],
  { upper = true } = {},
): Promise<readonly [ours: Mounted, kernels: Mounted]> {
  const one = async (mounter: Mounter): Promise<Mounted> => {
    const base = await workspace(t, 'top', 'low', 'upper', 'work', 'mnt');
    for (const layer of ['low', 'upper'])
      await writeFile(`${base}/${layer}/${layer}`, '#!/bin/sh\n');
    await chmod(`${base}/low/low`, 0o755);
    const writable = upper ? { upper: `${base}/upper`, work: `${base}/work` } : {};
    await mounter.mount(
      { lowers: [`${base}/top`, `${base}/low`], ...writable, options: words },
      `${base}/mnt`,
    );
    return { mounter, base, mnt: `${base}/mnt` };
  };
  return [await one(plyfs), await one(kernel)];
}

/**
 * As mount(8) does it: by its helper, which starts plyfs with what the mount table says and its
 * user's words.
 */
function remount({ mounter, mnt }: Mounted, words: string): Promise<{ status: number | null }> {
  const options = mountAt(mnt)?.options.join(',') ?? '';
  return run(
    mounter.name === 'kernel'
      ? ['mount', '-o', `remount,${words}`, mnt]
      : [programUnderTest(), '-o', `${options},remount,${words}`, mnt],
  );
}

const known = [
  'ro',
  'rw',
  'nosuid',
  'nodev',
  'noexec',
  'noatime',
  'nodiratime',
  'relatime',
  'sync',
  'dirsync',
  'lazytime',
];

/** What the mount table says, whether something can be made and whether a program runs. */
async function stateOf({ mnt }: Mounted): Promise<object> {
  const options = new Set(mountAt(mnt)?.options);
  return {
    options: known.filter((word) => options.has(word)),
    made: (await run(['touch', `${mnt}/new`])).status,
    ran: (await run(['sh', '-c', '"$0"', `${mnt}/low`])).status,
  };
}

t.test('a running mount takes other options', { skip }, async (t) => {
  const [ours, kernels] = await mountBoth(t, ['relatime']);
  for (const words of [
    'ro',
    'noexec',
    'rw',
    'nosuid,nodev',
    'exec',
    'noatime',
    'suid,dev,nodiratime',
    'diratime,atime,relatime',
    'ro,sync',
    'rw',
  ]) {
    t.equal((await remount(ours, words)).status, (await remount(kernels, words)).status, words);
    t.same(await stateOf(ours), await stateOf(kernels), `after ${words}`);
  }
});

t.test('writable is what has an upper directory', { skip }, async (t) => {
  const [ours, kernels] = await mountBoth(t, ['ro']);
  for (const mounted of [ours, kernels]) {
    t.match(await stateOf(mounted), { made: 1 });
    t.match(await remount(mounted, 'rw'), { status: 0 });
    t.match(await stateOf(mounted), { made: 0 }, mounted.mounter.name);
    t.ok(existsSync(`${mounted.base}/upper/new`));
  }
  for (const mounted of await mountBoth(t, [], { upper: false })) {
    t.not((await remount(mounted, 'rw')).status, 0, mounted.mounter.name);
    t.ok(mountAt(mounted.mnt)?.options.includes('ro'));
  }
});

t.test('what is no mount of plyfs is not remounted', async (t) => {
  const base = await workspace(t, 'mnt');
  t.match(await run([programUnderTest(), '-o', 'remount,ro', `${base}/mnt`]), {
    status: 1,
    stderr: /mnt is not a mount point of plyfs/,
  });
});

t.test('layers of a running mount stay, and that is said', { skip }, async (t) => {
  const [{ mnt, base }] = await mountBoth(t, []);
  const outcome = await run([programUnderTest(), '-o', `remount,noexec,lowerdir=${base}/low`, mnt]);
  t.match(outcome, { status: 0, stderr: /option ignored: lowerdir=.*: a mount keeps its layers/ });
  t.ok(mountAt(mnt)?.options.includes('noexec'));
});

t.test(
  'access times of files of the upper, at their first reading; those of a lower stay',
  { skip },
  async (t) => {
    const old = new Date('2001-02-03T04:05:06Z');
    for (const words of ['noatime', 'relatime', 'strictatime']) {
      for (const { mounter, base, mnt } of await mountBoth(t, [words])) {
        for (const layer of ['low', 'upper']) {
          await utimes(`${base}/${layer}/${layer}`, old, old);
          await succeed(['cat', `${mnt}/${layer}`]);
          const { atime } = await stat(`${base}/${layer}/${layer}`);
          t.equal(
            atime.getTime() === old.getTime(),
            layer === 'low' || words === 'noatime',
            `${mounter.name}, ${words}: ${layer}`,
          );
        }
      }
    }
  },
);
