/**
 * Lowers that show files of several devices and that take a peer or a file system of Debian's:
 * subvolumes of btrfs, mergerfs, fuse-overlayfs.
 */
import { chmod, lstat } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { packTree } from '../../src/archive/pack-layer.js';
import { treeSize } from '../../src/archive/layer-size.js';
import { run, succeed } from '../support/command.js';
import { mountImage, mountTmpfs } from '../support/disk-image.js';
import { isRoot } from '../support/users.js';
import { kernel, plyfs, unavailable } from '../suites/mounters.js';
import { fillScript, severalDevices } from '../suites/several-devices.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(120_000);

const skip = !isRoot && 'mounting the disks of a lower takes root';

async function missingIn(t: Test): Promise<string | undefined> {
  return (await unavailable(t, plyfs)) ?? (await unavailable(t, kernel));
}

/**
 * In the workspace: `two/dir2` on a disk of its own, and `one/dir1` on another, with equal inode
 * numbers.
 */
async function twoDisks(base: string): Promise<void> {
  for (const disk of ['one', 'two']) await mountTmpfs(`${base}/${disk}`, 'size=1M');
  await succeed(['mkdir', `${base}/one/dir1`, `${base}/two/dir2`]);
  await succeed(['sh', '-euc', fillScript, 'sh', `${base}/one/dir1`, `${base}/two/dir2`]);
}

t.test('subvolumes of btrfs, numbered alike in another mount of it', { skip }, async (t) => {
  const missing = await missingIn(t);
  if (missing !== undefined) {
    t.plan(0, missing);
    return;
  }
  const base = await workspace(t, 'lower', 'upper', 'work', 'mnt');
  await succeed(['truncate', '-s', '200M', `${base}/image`]);
  await succeed(['mkfs.btrfs', '-q', `${base}/image`]);
  t.equal(await mountImage(`${base}/image`, `${base}/lower`), undefined);
  for (const dir of ['dir1', 'dir2'])
    await succeed(['btrfs', 'subvolume', 'create', `${base}/lower/${dir}`]);
  await succeed(['sh', '-euc', fillScript, 'sh', `${base}/lower/dir1`, `${base}/lower/dir2`]);
  await severalDevices(t, base, `${base}/lower`, {
    merged: true,
    clash: true,
    lasting: true,
    oracle: true,
  });

  const numbers = async (): Promise<string> => {
    await plyfs.mount(
      { lowers: [`${base}/lower`], upper: `${base}/upper`, work: `${base}/work` },
      `${base}/mnt`,
    );
    const said = await succeed([
      'sh',
      '-euc',
      'cd "$1" && stat -c "%n %i" dir1 dir2 dir1/* dir2/sub/deep dir1/sub/deep',
      'sh',
      `${base}/mnt`,
    ]);
    await succeed(['umount', `${base}/mnt`]);
    return said;
  };
  const before = await numbers();
  await succeed(['umount', `${base}/lower`]);
  // The device numbers of subvolumes are given out anew.
  t.equal(await mountImage(`${base}/image`, `${base}/lower`), undefined);
  t.equal(await numbers(), before);
});

t.test(
  'a file of a subvolume, first met through its copy, keeps its number',
  { skip },
  async (t) => {
    const missing = await missingIn(t);
    if (missing !== undefined) {
      t.plan(0, missing);
      return;
    }
    const base = await workspace(t, 'top/dir', 'lower', 'upper', 'work', 'mnt');
    await succeed(['truncate', '-s', '200M', `${base}/image`]);
    await succeed(['mkfs.btrfs', '-q', `${base}/image`]);
    t.equal(await mountImage(`${base}/image`, `${base}/lower`), undefined);
    await succeed(['btrfs', 'subvolume', 'create', `${base}/lower/dir`]);
    await succeed(['touch', `${base}/lower/dir/file`]);
    const mount = () =>
      plyfs.mount(
        { lowers: [`${base}/top`, `${base}/lower`], upper: `${base}/upper`, work: `${base}/work` },
        `${base}/mnt`,
      );
    const number = async () => (await lstat(`${base}/mnt/dir/file`)).ino;
    await mount();
    const before = await number();
    await chmod(`${base}/mnt/dir/file`, 0o600);
    t.equal(await number(), before, 'when it is copied up');
    await succeed(['umount', `${base}/mnt`]);
    // Here `dir` leads to the top layer's: nothing of the subvolume is met before the file.
    await mount();
    t.equal(await number(), before, 'when it is mounted again');
    await succeed(['umount', `${base}/mnt`]);
  },
);

t.test('an origin on btrfs is written as the kernel writes it', { skip }, async (t) => {
  const missing = await missingIn(t);
  if (missing !== undefined) {
    t.plan(0, missing);
    return;
  }
  const base = await workspace(
    t,
    'lower',
    'mnt',
    ...['kernel', 'plyfs'].flatMap((by) => [`${by}/upper`, `${by}/work`]),
  );
  await succeed(['truncate', '-s', '200M', `${base}/image`]);
  await succeed(['mkfs.btrfs', '-q', `${base}/image`]);
  t.equal(await mountImage(`${base}/image`, `${base}/lower`), undefined);
  await succeed(['btrfs', 'subvolume', 'create', `${base}/lower/dir1`]);
  await succeed(['sh', '-euc', 'echo text >"$1"', 'sh', `${base}/lower/dir1/f`]);
  const origins: string[] = [];
  for (const mounter of [kernel, plyfs]) {
    const own = `${base}/${mounter.name}`;
    await mounter.mount(
      { lowers: [`${base}/lower`], upper: `${own}/upper`, work: `${own}/work` },
      `${base}/mnt`,
    );
    await succeed(['sh', '-euc', 'echo more >>"$1"', 'sh', `${base}/mnt/dir1/f`]);
    await succeed(['umount', `${base}/mnt`]);
    const words = ['getfattr', '--only-values', '-e', 'hex', '-n', 'trusted.overlay.origin'];
    origins.push(
      (await succeed([...words, `${own}/upper/dir1/f`])) +
        (await succeed([...words, `${own}/upper/dir1`])),
    );
  }
  t.equal(origins[1], origins[0]);
  t.ok((origins[0] ?? '').length > 40, 'and names a file');
});

t.test('mergerfs that hands on the numbers of its disks', { skip }, async (t) => {
  const missing = await missingIn(t);
  if (missing !== undefined) {
    t.plan(0, missing);
    return;
  }
  const base = await workspace(t, 'one', 'two', 'lower', 'upper', 'work', 'mnt');
  await twoDisks(base);
  await succeed([
    'mergerfs',
    '-o',
    'use_ino,inodecalc=passthrough',
    `${base}/one:${base}/two`,
    `${base}/lower`,
  ]);
  // Nothing is taken for another's further name: four names of 8 bytes, two files of 11.
  t.equal(treeSize(`${base}/lower`), 4 * 'of dir1\n'.length + 2 * 'below dir1\n'.length);
  let packed = 0;
  for await (const piece of packTree(`${base}/lower`, { form: 'none', ownership: 'real' })) {
    for (let at = 0; at < piece.length; at += 512)
      if (piece[at + 156] === '1'.charCodeAt(0)) packed++;
  }
  t.equal(packed, 0, 'no file is packed as a link to another');
  // It gives each name a node of its own, so nothing proves that two names are one file.
  await severalDevices(t, base, `${base}/lower`, {
    merged: false,
    clash: true,
    lasting: false,
    oracle: true,
  });
});

t.test('fuse-overlayfs of two disks', { skip }, async (t) => {
  const missing = await missingIn(t);
  if (missing !== undefined) {
    t.plan(0, missing);
    return;
  }
  const base = await workspace(t, 'one', 'two', 'lower', 'upper', 'work', 'mnt');
  await twoDisks(base);
  const { status, stderr } = await run([
    'fuse-overlayfs',
    '-o',
    `lowerdir=${base}/one:${base}/two`,
    `${base}/lower`,
  ]);
  t.equal(status, 0, stderr);
  await severalDevices(t, base, `${base}/lower`, {
    merged: true,
    clash: true,
    lasting: false,
    oracle: true,
  });
});
