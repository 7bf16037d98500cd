/**
 * Files that outlive their names, more files than there are descriptors, and copy-ups that are
 * interrupted.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, statSync } from 'node:fs';
import t from 'tap';
import { ended, run, succeed } from '../support/command.js';
import { mountAt } from '../support/mounts.js';
import { isRoot } from '../support/users.js';
import type { Actor } from '../suites/actor.js';
import { MAP_SHARED, O_CREAT, O_RDONLY, O_RDWR, O_WRONLY, PROT_READ } from '../suites/constants.js';
import { plyfs, type Mounter } from '../suites/mounters.js';
import type { UnionScene } from '../suites/union/scene.js';
import { daemonOf, descriptorsOf, dropCaches, eventually, onUnion } from './with-union.js';

t.setTimeout(120_000);

/** plyfs with at most `files` open at once. */
function limited(files: number): Mounter {
  return {
    name: 'plyfs',
    mount: async ({ lowers, upper, work, options = [] }, dir) => {
      const words = [
        `lowerdir=${lowers.join(':')},upperdir=${upper ?? ''},workdir=${work ?? ''}`,
        ...options,
      ].join(',');
      const program =
        process.env['PLYFS_PROGRAM'] ?? new URL('../../../bin/plyfs', import.meta.url).pathname;
      await succeed([
        'sh',
        '-c',
        `ulimit -n ${files} && exec "$0" -o "$1" "$2"`,
        program,
        words,
        dir,
      ]);
    },
  };
}

/** What lies in the workdir besides the directories of overlayfs. */
function parked(s: UnionScene): string[] {
  return readdirSync(`${s.union.base}/work/work`).filter((name) => name !== 'incompat');
}

await onUnion(t, 'files unlinked while open are read, written, and show no name', {}, async (s) => {
  await s.lay('lower1', { lower: 'lower', written: 'written', early: 'early' });
  await s.lay('upper', { upper: 'upper' });
  await s.mount();
  const early = await s.mnt.open('early', O_RDONLY);
  s.t.equal(await s.mnt.read(early, 9, 0), 'early');
  const fds: Record<string, number> = {};
  for (const name of ['lower', 'upper', 'written', 'early'])
    fds[name] = await s.mnt.open(name, O_RDWR);
  await s.mnt.write(fds['written'] ?? -1, 'W', 0);
  await s.mnt.write(fds['early'] ?? -1, 'E', 0);
  for (const name of ['lower', 'upper', 'written', 'early']) {
    const fd = fds[name] ?? -1;
    const { ino } = await s.mnt.fstat(fd);
    await s.mnt.unlink(name);
    s.t.match(await s.mnt.fstat(fd), { nlink: 0, ino }, name);
    await s.mnt.write(fd, 'ritten after', 1);
    s.t.equal(await s.mnt.read(fd, 20, 1), 'ritten after', name);
    await s.mnt.ftruncate(fd, 3);
    await s.mnt.fchmod(fd, 0o600);
    s.t.match(await s.mnt.fstat(fd), { nlink: 0, ino, size: 3 }, name);
    await s.mnt.put(name, 'another of that name');
    s.t.equal(await s.mnt.read(fd, 3, 1), 'ri', name);
    s.t.equal(await s.mnt.get(name), 'another of that name');
  }
  s.t.equal(
    await s.mnt.read(early, 3, 0),
    'Eri',
    'the descriptor from before the copy-up sees it all',
  );
  s.t.equal(await s.disk.get('lower1/lower'), 'lower', 'the lower is untouched');
  for (const fd of [...Object.values(fds), early]) await s.mnt.close(fd);
  await s.remount();
  for (const name of ['lower', 'upper', 'written', 'early'])
    s.t.equal(await s.mnt.get(name), 'another of that name', 'after a remount');
});

await onUnion(
  t,
  'more open files without a name than there are descriptors',
  { needsRoot: true },
  async (s) => {
    const rounds = ['first', 'second'];
    for (const round of rounds) {
      for (let i = 0; i < 300; i++) await s.disk.put(`lower1/${round}${i}`, `content ${i}`);
    }
    await s.union.mount(limited(256));
    const inside = await s.start();
    const inWorkdir: number[] = [];
    for (const round of rounds) {
      const fds: number[] = [];
      for (let i = 0; i < 300; i++) {
        const fd = await inside.open(`${round}${i}`, O_RDWR);
        await inside.write(fd, 'CONTENT', 0);
        await inside.unlink(`${round}${i}`);
        fds.push(fd);
      }
      inWorkdir.push(parked(s).length);
      s.t.ok(descriptorsOf(daemonOf(s)) < 256);
      for (const [i, fd] of fds.entries()) {
        if ((await inside.fstat(fd)).nlink !== 0) s.t.fail(`${round}${i} has a link`);
        if ((await inside.read(fd, 20, 0)) !== `CONTENT ${i}`)
          s.t.fail(`${round}${i} has lost its content`);
        await inside.write(fd, 'again', 0);
      }
      s.t.notOk((await inside.names()).some((name) => name.startsWith(round)));
      for (const fd of fds) await inside.close(fd);
      await eventually(() => {
        dropCaches();
        return parked(s).length === 0;
      }, 'the workdir is empty when the files are closed');
    }
    s.t.same(await inside.names(), []);
    const [first = 0, second = 0] = inWorkdir;
    s.t.ok(
      first > 300 - 256 / 4 && first < 300,
      `${first} are kept in the workdir: descriptors take a quarter of those allowed`,
    );
    s.t.ok(second < 300 - 10, `descriptors that were given back are used again: ${second}`);
  },
);

await onUnion(
  t,
  '5,000 files opened in turn and 2,000 mapped, with 256 descriptors; all are given back',
  { needsRoot: true },
  async (s) => {
    await s.disk.mkdir('lower1/d');
    for (let i = 0; i < 5000; i += 500) {
      await Promise.all(
        Array.from({ length: 500 }, (_, k) => s.disk.put(`lower1/d/${i + k}`, `content ${i + k}`)),
      );
    }
    await s.union.mount(limited(256));
    const inside = await s.start();
    const daemon = daemonOf(s);
    await inside.names();
    const before = descriptorsOf(daemon);
    for (let i = 0; i < 5000; i++) {
      const fd = await inside.open(`d/${i}`, i % 10 === 0 ? O_RDWR : O_RDONLY);
      if (i % 10 === 0) await inside.write(fd, 'CONTENT', 0);
      else if ((await inside.read(fd, 20, 0)) !== `content ${i}`) s.t.fail(`content of ${i}`);
      await inside.close(fd);
    }
    s.t.ok(descriptorsOf(daemon) < 256);
    const maps: number[] = [];
    for (let i = 0; i < 2000; i++) {
      const fd = await inside.open(`d/${i}`);
      maps.push(await inside.mmap(fd, 4096, PROT_READ, MAP_SHARED));
      await inside.close(fd);
    }
    const wrong: number[] = [];
    for (const [i, map] of maps.entries()) {
      if ((await inside.peek(map, 0, 7)) !== (i % 10 === 0 ? 'CONTENT' : 'content')) wrong.push(i);
    }
    s.t.same(wrong, [], 'every mapping shows its file');
    for (const map of maps) await inside.munmap(map);
    dropCaches();
    await eventually(
      () => {
        dropCaches();
        return descriptorsOf(daemon) <= before + 4;
      },
      `descriptors fall back to about ${before}, but are ${descriptorsOf(daemon)}`,
    );
    s.t.pass(`${before} descriptors before, ${descriptorsOf(daemon)} after`);
  },
);

/** 300 MB with holes, so that copying takes a while. */
async function layBig(s: UnionScene, names: readonly string[] = ['big']): Promise<void> {
  await s.lay('lower1', { small: 'small' });
  for (const name of names) {
    const path = `${s.union.base}/lower1/${name}`;
    execFileSync('dd', ['if=/dev/zero', `of=${path}`, 'bs=1M', 'count=260', 'status=none']);
    execFileSync('dd', [
      'if=/dev/zero',
      `of=${path}`,
      'bs=1M',
      'count=1',
      'seek=299',
      'conv=notrunc',
      'status=none',
    ]);
  }
}

/** Copying to the upper has begun: the daemon holds a file without a name. */
function copying(s: UnionScene): boolean {
  const pid = daemonOf(s);
  const links = execFileSync(
    'find',
    [`/proc/${pid}/fd`, '-lname', '*(deleted)', '-printf', '%l\n'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  // Through its own copy of the mount the process sees the path from wherever that begins.
  return links.includes('/work/work/');
}

async function clean(s: UnionScene, what: string): Promise<void> {
  s.t.same(await s.inUpper(), [], `${what}: nothing in the upper`);
  s.t.same(parked(s), [], `${what}: nothing in the workdir`);
}

for (const signal of ['SIGKILL', 'SIGINT'] as const) {
  await onUnion(
    t,
    `the writer gets ${signal} during its copy-up: nothing is left, and the next writer succeeds`,
    { needsRoot: true },
    async (s) => {
      await layBig(s);
      await s.mount();
      const writer = spawn('chmod', ['600', `${s.union.mnt}/big`]);
      const gone = once(writer, 'exit');
      await eventually(() => copying(s), 'the copy-up begins');
      writer.kill(signal);
      await gone;
      await eventually(() => !copying(s), 'the copy-up ends');
      if (existsSync(`${s.union.upper}/big`))
        s.t.pass('it was finished before the signal was seen');
      else await clean(s, signal);
      s.t.equal(await s.mnt.get('small'), 'small');
      await s.mnt.chmod('big', 0o640);
      s.t.equal((await s.disk.lstat('upper/big')).size, 300 << 20);
    },
  );
}

await onUnion(
  t,
  'during a copy-up others go on, two writers make one copy, and the name may go',
  { needsRoot: true },
  async (s) => {
    await layBig(s, ['big', 'going']);
    await s.mount();
    const writers: Actor[] = [await s.start(), await s.start()];
    const done = writers.map((writer, i) => writer.chmod('big', 0o600 + i));
    await eventually(() => copying(s), 'the copy-up begins');
    s.t.equal(await s.mnt.get('small'), 'small');
    s.t.equal((await s.mnt.lstat('big')).size, 300 << 20, 'the file itself is seen meanwhile');
    const reader = await s.mnt.open('big');
    s.t.equal(await s.mnt.read(reader, 2, 5), '\0\0');
    await s.mnt.put('new', 'new');
    s.t.notOk(existsSync(`${s.union.upper}/big`), 'all of that while the copy was under way');
    await Promise.all(done);
    s.t.same(await s.inUpper(), ['big', 'new']);
    s.t.same(parked(s), []);

    const [writer] = writers;
    const fd = await s.mnt.open('going', O_RDWR);
    const written = writer!.open('going', O_WRONLY).then((out) => writer!.write(out, 'written', 0));
    await eventually(() => copying(s), 'the second copy-up begins');
    await s.mnt.unlink('going');
    await s.fails('ENOENT', s.mnt.lstat('going'));
    s.t.equal(await written, 7);
    s.t.equal(
      await s.mnt.read(fd, 7, 0),
      'written',
      'the file without a name has what was written',
    );
    s.t.equal((await s.mnt.fstat(fd)).nlink, 0);
    s.t.same(await s.inUpper(), ['big', 'going', 'new']);
    await s.isWhiteout('upper/going');
  },
);

await onUnion(
  t,
  'a file renamed over, and its directory renamed, during its copy-up',
  { needsRoot: true },
  async (s) => {
    await layBig(s);
    await s.mount();
    const writer = await s.start();
    const done = writer.open('big', O_WRONLY).then((out) => writer.write(out, 'written', 0));
    await eventually(() => copying(s), 'the copy-up begins');
    await s.mnt.put('other', 'other');
    await s.mnt.rename('other', 'big');
    s.t.equal(await done, 7);
    s.t.equal(await s.mnt.get('big'), 'other');
    await s.remount();
    s.t.equal(await s.mnt.get('big'), 'other');
  },
);

await onUnion(
  t,
  'SIGTERM during a copy-up: the caller gets his answer, the upper is whole',
  { needsRoot: true },
  async (s) => {
    await layBig(s);
    await s.mount();
    const daemon = daemonOf(s);
    const writer = await s.start();
    const out = await writer.open('big', O_RDWR);
    const done = writer.write(out, 'written', 0);
    await eventually(() => copying(s), 'the copy-up begins');
    process.kill(daemon, 'SIGTERM');
    s.t.equal(await done, 7);
    await eventually(() => mountAt(s.union.mnt) === undefined, 'the mount leaves the tree');
    s.t.equal(await writer.read(out, 7, 0), 'written', 'what is open works on');
    await writer.end();
    await s.mnt.end();
    await ended(daemon);
    s.t.equal(statSync(`${s.union.upper}/big`).size, 300 << 20);
    await s.union.mount(plyfs);
    s.t.same(parked(s), []);
  },
);

await onUnion(
  t,
  'SIGKILL of the daemon during a copy-up: the next mount starts clean',
  { needsRoot: true },
  async (s) => {
    await layBig(s);
    await s.mount();
    const daemon = daemonOf(s);
    const writer = await s.start();
    const done = writer.chmod('big', 0o600);
    await eventually(() => copying(s), 'the copy-up begins');
    process.kill(daemon, 'SIGKILL');
    await s.t.rejects(done);
    await ended(daemon);
    await succeed(['umount', '-l', s.union.mnt]);
    await s.mount();
    await clean(s, 'after the crash');
    s.t.equal((await s.mnt.lstat('big')).size, 300 << 20);
  },
);

await onUnion(
  t,
  'a volatile mount marks its workdir, which is refused until the mark is removed',
  { options: ['volatile'] },
  async (s) => {
    await s.lay('lower1', { file: 'x' });
    await s.mount();
    s.t.ok(existsSync(`${s.union.base}/work/work/incompat/volatile`), 'the mark of overlayfs');
    const fd = await s.mnt.open('new', O_CREAT | O_WRONLY);
    await s.mnt.fsync(fd);
    await s.mnt.close(fd);
    await s.unmount();
    await s.t.rejects(s.union.mount(), /volatile.*work.incompat/, 'refused');
    s.t.equal(mountAt(s.union.mnt), undefined);
    if (isRoot)
      s.t.not(
        (
          await run([
            'mount',
            '-t',
            'overlay',
            'o',
            '-o',
            `lowerdir=${s.union.lowers[0]},upperdir=${s.union.upper},workdir=${s.union.base}/work`,
            s.union.mnt,
          ])
        ).status,
        0,
        'the kernel refuses it too',
      );
    await succeed(['rm', '-r', `${s.union.base}/work/work/incompat`]);
    await s.mount();
    s.t.same(await s.mnt.names(), ['file', 'new']);
  },
);
