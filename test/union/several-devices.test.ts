/**
 * Lowers that show files of several devices: equal numbers do not make two files one. See also
 * test/integration/several-devices.test.ts.
 */
import t from 'tap';
import { succeed } from '../support/command.js';
import { mountTmpfs } from '../support/disk-image.js';
import { isRoot } from '../support/users.js';
import { kernel, plyfs, unavailable } from '../suites/mounters.js';
import { fillScript, severalDevices } from '../suites/several-devices.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(120_000);

const skip = !isRoot && 'mounting the disks of a lower takes root';

t.test(
  'file systems mounted inside a lower, seen by a user who may not look behind them',
  { skip },
  async (t) => {
    const missing = await unavailable(t, plyfs);
    if (missing !== undefined) {
      t.plan(0, missing);
      return;
    }
    const base = await workspace(t, 'lower', 'upper', 'work', 'mnt');
    for (const dir of ['', '/dir1', '/dir2']) {
      if (dir !== '') await succeed(['mkdir', `${base}/lower${dir}`]);
      await mountTmpfs(`${base}/lower${dir}`, 'size=1M');
    }
    await succeed(['sh', '-euc', fillScript, 'sh', `${base}/lower/dir1`, `${base}/lower/dir2`]);
    // A user namespace of one's own may not take apart the mounts it began with
    // (mount_namespaces(7), "locked"): the lower has no private copy.
    await severalDevices(t, base, `${base}/lower`, {
      merged: true,
      clash: true,
      lasting: true,
      oracle: false,
      within: ['unshare', '-rm'],
    });
  },
);

t.test("a lower that is the kernel's overlay of two disks", { skip }, async (t) => {
  const missing = (await unavailable(t, plyfs)) ?? (await unavailable(t, kernel));
  if (missing !== undefined) {
    t.plan(0, missing);
    return;
  }
  const base = await workspace(t, 'one', 'two', 'lower', 'upper', 'work', 'mnt');
  for (const disk of ['one', 'two']) await mountTmpfs(`${base}/${disk}`, 'size=1M');
  await succeed(['mkdir', `${base}/one/dir1`, `${base}/two/dir2`]);
  await succeed(['sh', '-euc', fillScript, 'sh', `${base}/one/dir1`, `${base}/two/dir2`]);
  await kernel.mount(
    { lowers: [`${base}/one`, `${base}/two`], options: ['xino=off'] },
    `${base}/lower`,
  );
  await severalDevices(t, base, `${base}/lower`, {
    merged: true,
    clash: true,
    lasting: false,
    oracle: true,
  });
});
