/**
 * What a disk shows after the power went: on an ext4 in a file, which is stopped by its own means
 * (EXT4_IOC_SHUTDOWN) after its journal was committed. That is the worst moment for a file whose
 * data was left to be written later: its name is there.
 */
import { chmod, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { ended, succeed } from '../support/command.js';
import { mountExt4, mountImage } from '../support/disk-image.js';
import { daemonsOf } from '../support/mounts.js';
import { isRoot } from '../support/users.js';
import { Actor } from '../suites/actor.js';
import { O_RDONLY, O_DIRECTORY } from '../suites/constants.js';
import { kernel, plyfs, unavailable, unmount } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';
import { unmountDead } from './fault-plan.js';

/** _IOR('X', 125, __u32) of fs/ext4/ext4.h, and its flag "commit the journal first". */
const EXT4_IOC_SHUTDOWN = 0x8004587d;
const LOGFLUSH = 1;
const FILES = 60;

const contentOf = (i: number): string => `content of file ${i}, `.repeat(1 + i * 17);

/**
 * Files of the upper by name, with their content, after each of many lower files was copied up by a
 * chmod and the power went. `metacopies`: the kernel had left metadata-only copies of them in the
 * upper, which get their data by the chmod.
 */
async function afterPowerCut(
  t: Test,
  options: readonly string[],
  metacopies = false,
): Promise<Map<string, string> | undefined> {
  const base = await workspace(t, 'lower/dir', 'disk', 'mnt', 'seen');
  const reason = await mountExt4(`${base}/image`, `${base}/disk`, {
    mebibytes: 64,
    block: 4096,
    options: ['commit=600'],
  });
  if (reason !== undefined) {
    t.plan(0, reason);
    return undefined;
  }
  for (const name of ['upper', 'work']) await mkdir(`${base}/disk/${name}`);
  for (let i = 0; i < FILES; i++) await writeFile(`${base}/lower/dir/${i}`, contentOf(i));
  const layers = {
    lowers: [`${base}/lower`],
    upper: `${base}/disk/upper`,
    work: `${base}/disk/work`,
  };
  if (metacopies) {
    await kernel.mount({ ...layers, options: ['metacopy=on'] }, `${base}/mnt`);
    for (let i = 0; i < FILES; i++) await chmod(`${base}/mnt/dir/${i}`, 0o640);
    await unmount(`${base}/mnt`);
    const before = await Actor.start({ cwd: layers.upper });
    for (let i = 0; i < FILES; i++) await before.getxattr(`dir/${i}`, 'trusted.overlay.metacopy');
    await before.end();
  }
  await plyfs.mount({ ...layers, options }, `${base}/mnt`);
  await succeed(['sync', '-f', `${base}/disk`]);
  const [daemon] = daemonsOf(`${base}/mnt`);
  if (daemon === undefined) throw new Error('no daemon serves the mount');

  const mnt = await Actor.start({ cwd: `${base}/mnt` });
  for (let i = 0; i < FILES; i++) await mnt.chmod(`dir/${i}`, 0o600);
  await mnt.end();
  const disk = await Actor.start({ cwd: `${base}/disk` });
  await disk.ioctl(await disk.open('.', O_RDONLY | O_DIRECTORY), EXT4_IOC_SHUTDOWN, LOGFLUSH);
  await disk.end();
  process.kill(daemon, 'SIGKILL');
  await ended(daemon);
  await unmountDead(`${base}/mnt`);

  // Of a copy: the stopped file system lives on for as long as a process that ends holds a file of
  // it.
  await succeed(['cp', '--sparse=always', `${base}/image`, `${base}/image2`]);
  await mountImage(`${base}/image2`, `${base}/seen`);
  const found = new Map<string, string>();
  for (const name of await readdir(`${base}/seen/upper/dir`))
    found.set(name, await readFile(`${base}/seen/upper/dir/${name}`, 'latin1'));
  return found;
}

t.setTimeout(120_000);
const missing = isRoot ? await unavailable(t, plyfs) : 'needs root';

await t.test('no copy has its name without its data', { skip: missing ?? false }, async (t) => {
  const found = await afterPowerCut(t, []);
  if (found === undefined) return;
  t.equal(found.size, FILES, 'the journal with their names was committed');
  for (const [name, content] of found)
    if (content !== contentOf(Number(name))) t.fail(`${name}: ${content.length} bytes`);
});

const noKernel = isRoot ? await unavailable(t, kernel) : 'needs root';

await t.test(
  'no metadata-only copy loses its mark before it has its data',
  { skip: missing ?? noKernel ?? false },
  async (t) => {
    const found = await afterPowerCut(t, [], true);
    if (found === undefined) return;
    t.equal(found.size, FILES);
    const whole = [...found].filter(([name, content]) => content === contentOf(Number(name)));
    t.equal(whole.length, FILES, 'all have their data, which the chmod was told of');
  },
);

await t.test(
  'a mount that flushes nothing leaves such names: the test can tell',
  { skip: missing ?? false },
  async (t) => {
    const found = await afterPowerCut(t, ['volatile']);
    if (found === undefined) return;
    t.ok([...found].some(([name, content]) => content !== contentOf(Number(name))));
  },
);
