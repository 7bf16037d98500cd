/**
 * Far more files than there are descriptors: 100,000 with 20,000, and 20,000 with 1,024; read,
 * written, and mapped.
 */
import t, { type Test } from 'tap';
import { isRoot } from '../support/users.js';
import { Actor } from '../suites/actor.js';
import { MAP_SHARED, O_RDONLY, O_RDWR, PROT_READ } from '../suites/constants.js';
import { plyfsThrough, unavailable, Union } from '../suites/mounters.js';
import { daemonsOf } from '../support/mounts.js';
import { descriptorsOf, dropCaches, eventually } from '../union/with-union.js';

/** Files of a directory. */
const IN_DIRECTORY = 1000;
/** Files that are worked on at once: as many are open. */
const AT_ONCE = 500;
/** Mappings that are there at once. */
const MAPPED = 4000;

const pathOf = (i: number): string => `d${Math.floor(i / IN_DIRECTORY)}/f${i}`;

async function inTurn(
  from: number,
  to: number,
  one: (i: number) => Promise<unknown>,
): Promise<void> {
  for (let i = from; i < to; i += AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, to - i) }, (_, k) => one(i + k)));
  }
}

async function many(t: Test, files: number, limit: number): Promise<number> {
  const mounter = plyfsThrough(['prlimit', `--nofile=${limit}:${limit}`]);
  const union = await Union.create(t, mounter, 1);
  const disk = await Actor.start({ cwd: `${union.base}/lower1` });
  for (let d = 0; d * IN_DIRECTORY < files; d++) await disk.mkdir(`d${d}`);
  await inTurn(0, files, (i) => disk.put(pathOf(i), String(i)));
  await disk.end();
  await union.mount();
  const [daemon] = daemonsOf(union.mnt);
  if (daemon === undefined) throw new Error('no daemon serves the mount');
  const mnt = await Actor.start({ cwd: union.mnt });
  await mnt.names();
  const before = descriptorsOf(daemon);
  let most = 0;
  const look = (): void => {
    most = Math.max(most, descriptorsOf(daemon));
  };

  const wrong: number[] = [];
  await inTurn(0, files, async (i) => {
    // One in ten is copied up.
    const write = i % 10 === 0;
    const fd = await mnt.open(pathOf(i), write ? O_RDWR : O_RDONLY);
    if (write) await mnt.write(fd, 'w', 0);
    if ((await mnt.read(fd, 20, 0)) !== (write ? `w${String(i).slice(1)}` : String(i)))
      wrong.push(i);
    await mnt.close(fd);
    if (i % 1000 === 0) look();
  });
  look();
  t.same(wrong, [], `${files} files opened in turn show what is in them`);

  for (let start = 0; start < files; start += MAPPED) {
    const maps: [number, number][] = [];
    await inTurn(start, Math.min(files, start + MAPPED), async (i) => {
      const fd = await mnt.open(pathOf(i));
      maps.push([i, await mnt.mmap(fd, 4096, PROT_READ, MAP_SHARED)]);
      await mnt.close(fd);
    });
    await inTurn(0, maps.length, async (k) => {
      const [i, map] = maps[k]!;
      const text = i % 10 === 0 ? `w${String(i).slice(1)}` : String(i);
      if ((await mnt.peek(map, 0, text.length)) !== text) wrong.push(i);
      await mnt.munmap(map);
    });
    look();
  }
  t.same(wrong, [], 'and mapped, closed and looked at afterwards');
  t.ok(most < limit, `${most} descriptors at most, of ${limit}`);
  await eventually(() => {
    dropCaches();
    return descriptorsOf(daemon) <= before + 8;
  }, `the descriptors fall back to about ${before}`);
  t.pass(`${descriptorsOf(daemon)} descriptors are left, of ${before} before`);
  await mnt.end();
  await union.unmount();
  return 2 * files;
}

t.setTimeout(1_800_000);
const skip = (isRoot ? await unavailable(t, plyfsThrough([])) : 'needs root') ?? false;
let opened = 0;
for (const [files, limit] of [
  [20_000, 1024],
  [100_000, 20_000],
] as const) {
  await t.test(
    `${files} files and ${limit} descriptors`,
    { skip, timeout: 1_200_000 },
    async (t) => {
      opened += await many(t, files, limit);
    },
  );
}
t.comment(`figure: ${opened} files opened or mapped without running out of descriptors`);
