/**
 * What fsync(2) has returned for is there: on an ext4 in a file, of which a copy is made and looked
 * at while the mount goes on. The copy is what a disk holds at the moment when the power goes: what
 * is only in memory is not in it.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { ended, succeed } from '../support/command.js';
import { mountExt4, mountImage } from '../support/disk-image.js';
import { daemonsOf } from '../support/mounts.js';
import { isRoot } from '../support/users.js';
import { Actor } from '../suites/actor.js';
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR } from '../suites/constants.js';
import { plyfs, unavailable, unmount } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';
import { CHANGES, FaultPlan, unmountDead } from './fault-plan.js';

interface Scene {
  readonly t: Test;
  readonly mnt: Actor;
  /** The upper on disk. */
  readonly disk: Actor;
  readonly plan: FaultPlan;
  /**
   * Mounts a copy of the disk and tells what the union over it shows of a path; undefined: nothing.
   */
  survives(path: string): Promise<string | undefined>;
}

async function flushed(
  t: Test,
  options: readonly string[],
  run: (scene: Scene) => Promise<void>,
): Promise<void> {
  const base = await workspace(t, 'lower', 'disk', 'copy', 'mnt', 'seen');
  // Nothing is written of itself for as long as the test takes.
  const reason = await mountExt4(`${base}/image`, `${base}/disk`, {
    mebibytes: 16,
    options: ['commit=600'],
  });
  if (reason !== undefined) {
    t.plan(0, reason);
    return;
  }
  for (const name of ['upper', 'work']) await mkdir(`${base}/disk/${name}`);
  await mkdir(`${base}/lower/closed/deep`, { recursive: true, mode: 0o700 });
  const outside = await Actor.start({ cwd: base });
  for (const name of ['file', 'other'])
    await outside.put(`lower/closed/deep/${name}`, `content of ${name}`);
  const plan = new FaultPlan(`${base}/plan`);
  t.teardown(() => plan.close());
  const spec = {
    lowers: [`${base}/lower`],
    upper: `${base}/disk/upper`,
    work: `${base}/disk/work`,
    options,
  };
  await plan.mounter.mount(spec, `${base}/mnt`);
  await succeed(['sync', '-f', `${base}/disk`]);
  const mnt = await Actor.start({ cwd: `${base}/mnt` });
  const disk = await Actor.start({ cwd: `${base}/disk/upper` });

  const survives = async (path: string): Promise<string | undefined> => {
    await succeed(['cp', '--sparse=always', `${base}/image`, `${base}/image2`]);
    await mountImage(`${base}/image2`, `${base}/copy`);
    await plyfs.mount(
      { lowers: spec.lowers, upper: `${base}/copy/upper`, work: `${base}/copy/work` },
      `${base}/seen`,
    );
    try {
      return existsSync(`${base}/seen/${path}`)
        ? await readFile(`${base}/seen/${path}`, 'latin1')
        : undefined;
    } finally {
      await unmount(`${base}/seen`);
      await succeed(['umount', `${base}/copy`]).catch(() =>
        succeed(['umount', '-l', `${base}/copy`]),
      );
      await rm(`${base}/image2`);
    }
  };
  plan.arm({ action: 'count', kinds: CHANGES });
  await run({ t, mnt, disk, plan, survives });
  for (const actor of [mnt, disk, outside]) await actor.end();
  const [daemon] = daemonsOf(`${base}/mnt`);
  if (daemon === undefined) throw new Error('no daemon serves the mount');
  process.kill(daemon, 'SIGKILL');
  await ended(daemon);
  await unmountDead(`${base}/mnt`);
}

/** Whether the upper's file was flushed by a call that succeeded. */
function wasFlushed(
  s: Scene,
  inode: bigint,
  calls: readonly string[] = ['fsync', 'fdatasync'],
): boolean {
  return s.plan.log.some(
    ({ name, inode: of, result }) => calls.includes(name) && of === inode && result === 0n,
  );
}

t.setTimeout(120_000);
const missing = isRoot ? await unavailable(t, plyfs) : 'needs root';
/** fsync(2) succeeds and reaches nothing, nor does a copy-up flush its data. */
async function flushesNothing(s: Scene): Promise<void> {
  const fd = await s.mnt.open('new', O_RDWR | O_CREAT);
  await s.mnt.write(fd, 'all of it');
  await s.mnt.fsync(fd);
  await s.mnt.write(await s.mnt.open('closed/deep/file', O_RDWR), 'NEW', 0);
  s.t.same(
    s.plan.log.filter(({ name }) => /sync/.test(name)),
    [],
  );
}

const cases: Readonly<
  Record<string, { readonly options?: readonly string[]; run(s: Scene): Promise<void> }>
> = {
  'a new file in a new directory, by fsync': {
    run: async (s) => {
      await s.mnt.mkdir('new');
      const fd = await s.mnt.open('new/file', O_RDWR | O_CREAT);
      await s.mnt.write(fd, 'all of it');
      s.plan.arm({ action: 'count', kinds: CHANGES });
      await s.mnt.fsync(fd);
      s.t.ok(
        wasFlushed(s, (await s.disk.lstat('new/file')).ino),
        'fsync(2) reached the file of the upper',
      );
      s.t.equal(await s.survives('new/file'), 'all of it');
    },
  },
  'a file that was copied up with its directories, by fdatasync': {
    run: async (s) => {
      const fd = await s.mnt.open('closed/deep/file', O_RDWR);
      await s.mnt.write(fd, 'CONTENT', 0);
      s.plan.arm({ action: 'count', kinds: CHANGES });
      await s.mnt.fdatasync(fd);
      const { ino } = await s.disk.lstat('closed/deep/file');
      s.t.ok(wasFlushed(s, ino), 'the file of the upper is flushed');
      s.t.equal(
        await s.survives('closed/deep/file'),
        'CONTENT of file',
        'under its name, which it has in the upper since the write',
      );
      await s.mnt.write(fd, 'again', 0);
      s.plan.arm({ action: 'count', kinds: CHANGES });
      await s.mnt.fdatasync(fd);
      s.t.ok(wasFlushed(s, ino, ['fdatasync']), 'from then on its data alone');
      s.t.equal(await s.survives('closed/deep/file'), 'againNT of file');
    },
  },
  'a rename, by fsync of the directory': {
    run: async (s) => {
      await s.mnt.rename('closed/deep/file', 'closed/deep/renamed');
      const directory = await s.mnt.open('closed/deep', O_RDONLY | O_DIRECTORY);
      s.plan.arm({ action: 'count', kinds: CHANGES });
      await s.mnt.fsync(directory);
      s.t.ok(
        wasFlushed(s, (await s.disk.lstat('closed/deep')).ino),
        'fsync(2) reached the directory of the upper',
      );
      s.t.equal(await s.survives('closed/deep/renamed'), 'content of file');
      s.t.equal(await s.survives('closed/deep/file'), undefined, 'its former name is hidden');
    },
  },
  'a deletion, by fsync of the directory': {
    run: async (s) => {
      await s.mnt.unlink('closed/deep/other');
      const directory = await s.mnt.open('closed/deep', O_RDONLY | O_DIRECTORY);
      await s.mnt.fsync(directory);
      s.t.equal(await s.survives('closed/deep/other'), undefined);
      s.t.equal(await s.survives('closed/deep/file'), 'content of file', 'and nothing else');
    },
  },
  'nothing is flushed by a volatile mount': { options: ['volatile'], run: flushesNothing },
  'nothing is flushed with fsync=0': { options: ['fsync=0'], run: flushesNothing },
  'what was not flushed is not in the copy: the test can tell': {
    run: async (s) => {
      let missed = false;
      // Somebody else's sync(1) may come in between.
      for (let i = 0; i < 3 && !missed; i++) {
        await s.mnt.put(`new${i}`, 'all of it');
        missed = (await s.survives(`new${i}`)) !== 'all of it';
      }
      s.t.ok(missed);
    },
  },
};
for (const [name, { options = [], ...rest }] of Object.entries(cases)) {
  await t.test(name, { skip: missing ?? false }, (t) =>
    flushed(t, options, (scene) => rest.run(scene)),
  );
}
