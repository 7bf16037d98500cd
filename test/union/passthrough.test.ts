/**
 * What passthrough changes: whom data goes through, and what handles of one file that are open
 * together see.
 */
import t from 'tap';
import { succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import {
  MAP_SHARED,
  O_APPEND,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  PROT_READ,
  PROT_WRITE,
} from '../suites/constants.js';
import { plyfs, plyfsPassthrough, unavailable, type Mounter } from '../suites/mounters.js';
import { UnionScene, type UnionCase } from '../suites/union/scene.js';
import { daemonOf } from './with-union.js';

t.setTimeout(120_000);

// A test that waits between its subtests has ended by then.
const missing = {
  [plyfs.name]: await unavailable(t, plyfs),
  [plyfsPassthrough.name]: await unavailable(t, plyfsPassthrough),
};

async function onMount(
  name: string,
  run: UnionCase['run'],
  mounter: Mounter = plyfsPassthrough,
  options: string[] = [],
): Promise<void> {
  const skip = isRoot ? missing[mounter.name] : 'needs root';
  await t.test(name, { skip: skip ?? false }, async (t) => {
    const scene = await UnionScene.create(t, mounter, 1, options);
    try {
      await run(scene);
    } finally {
      await scene.end();
    }
  });
}

/** Runs `act` while the daemon is stopped: what needs it would never return. */
async function withoutDaemon(s: UnionScene, act: () => Promise<void>): Promise<void> {
  const daemon = daemonOf(s);
  process.kill(daemon, 'SIGSTOP');
  // A stopped daemon cannot be unmounted either.
  const goesOn = setTimeout(() => process.kill(daemon, 'SIGCONT'), 10_000);
  const from = Date.now();
  try {
    await act();
    s.t.ok(Date.now() - from < 10_000, 'nobody had to wait for the daemon');
  } finally {
    clearTimeout(goesOn);
    process.kill(daemon, 'SIGCONT');
  }
}

await onMount(
  'an open file of the upper is read, written and mapped without the daemon',
  async (s) => {
    await s.lay('lower1', { lower: 'from below' });
    await s.mount();
    const made = await s.mnt.open('made', O_RDWR | O_CREAT);
    const copied = await s.mnt.open('lower', O_RDWR | O_APPEND);
    s.t.same(await s.inUpper(), ['lower', 'made'], 'opening for writing has copied up');
    // The first write asks for file capabilities.
    await s.mnt.write(made, 'first ');
    await s.mnt.write(copied, ', first');
    await withoutDaemon(s, async () => {
      await s.mnt.write(made, 'second');
      await s.mnt.write(copied, ', second');
      s.t.equal(await s.mnt.read(made, 100, 0), 'first second');
      s.t.equal(await s.mnt.read(copied, 100, 0), 'from below, first, second');
      const map = await s.mnt.mmap(made, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
      await s.mnt.poke(map, 0, 'FIRST');
      await s.mnt.munmap(map);
    });
    s.t.equal((await s.mnt.lstat('made')).size, 12);
    s.t.equal((await s.mnt.fstat(copied)).size, 25);
    await s.mnt.unlink('made');
    s.t.equal(await s.mnt.read(made, 100, 0), 'FIRST second', 'an unlinked file stays readable');
    await s.mnt.write(made, '!');
    s.t.equal((await s.mnt.fstat(made)).size, 13);
    await s.mnt.close(made);
    s.t.equal(await s.mnt.get('lower'), 'from below, first, second');
  },
);

await onMount(
  'a lower file stays cached while a reader has it open, whoever opens it, and is passed through afterwards',
  async (s) => {
    await s.lay('lower1', { file: 'lower' });
    await s.mount();
    const reader = await s.mnt.open('file', O_RDONLY);
    s.t.equal(await s.mnt.read(reader, 100, 0), 'lower');
    const writer = await s.mnt.open('file', O_RDWR);
    await s.mnt.write(writer, 'upper, longer');
    s.t.equal(await s.mnt.read(reader, 100, 0), 'upper, longer', 'the reader sees what is written');
    const late = await s.mnt.open('file', O_RDONLY);
    s.t.equal(await s.mnt.read(late, 100, 0), 'upper, longer');
    const map = await s.mnt.mmap(late, 4096, PROT_READ, MAP_SHARED);
    await s.mnt.write(writer, '!');
    s.t.equal(await s.mnt.peek(map, 0, 14), 'upper, longer!', 'a mapping too');
    await s.mnt.munmap(map);
    for (const fd of [reader, writer, late]) await s.mnt.close(fd);
    const again = await s.mnt.open('file', O_WRONLY | O_TRUNC);
    await s.mnt.write(again, 'cut');
    s.t.equal(await s.mnt.get('file'), 'cut');
    s.t.equal(await s.disk.get('upper/file'), 'cut');
  },
);

await onMount('O_TRUNC copies no data up, and counts as a change', async (s) => {
  await s.lay('lower1', { file: 'x'.repeat(10_000) });
  await s.disk.utimens('lower1/file', [1_000_000_000, 0], [1_000_000_000, 0]);
  await s.mount();
  const fd = await s.mnt.open('file', O_WRONLY | O_TRUNC);
  const { size, mtime } = await s.mnt.lstat('file');
  s.t.equal(size, 0);
  s.t.ok(mtime > 1_000_000_000_000_000_000n);
  await s.mnt.write(fd, 'new');
  await s.mnt.close(fd);
  s.t.equal(await s.mnt.get('file'), 'new');
});

for (const mounter of [plyfs, plyfsPassthrough]) {
  await onMount(
    `${mounter.name}: set-id bits that a write takes away are gone for who asks for the mode alone`,
    async (s) => {
      await s.mount();
      await s.mnt.put('file', 'x');
      await s.mnt.chmod('file', 0o4777);
      const user = await s.start({ identity: { uid: 65534, gid: 65534 }, cwd: s.union.mnt });
      const fd = await user.open('file', O_WRONLY);
      // A statx(2) for the mode alone, as stat(1) asks: nothing else makes the kernel ask again.
      const mode = async (): Promise<string> =>
        (await succeed(['stat', '-c', '%a', `${s.union.mnt}/file`])).trim();
      s.t.equal(await mode(), '4777');
      await user.write(fd, 'y');
      s.t.equal(await mode(), '777');
    },
    mounter,
  );
}
