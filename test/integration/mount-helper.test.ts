/**
 * What mount(8) and fstab(5) do with plyfs: their helper looks for it in a PATH of its own, where
 * `make install` puts it.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { mountAt } from '../../src/host/mount-table.js';
import { run, succeed } from '../support/command.js';
import { temporaryDirectory } from '../support/mounts.js';
import { layers } from '../support/plyfs.js';
import { root } from '../support/root.js';
import { isRoot } from '../support/users.js';

const program = '/usr/local/bin/plyfs';
const skip = !isRoot
  ? 'only root mounts with mount(8)'
  : existsSync(program)
    ? `${program} is there already`
    : false;

t.test('make install, mount(8), fstab(5), make uninstall', { skip }, async (t) => {
  const { top, bottom, upper, mountpoint, options } = await layers(t);
  const make = (...words: string[]) =>
    succeed(['make', '--no-print-directory', '-C', root, ...words]);
  t.teardown(() => make('uninstall'));
  await make('install');
  t.match(await run([program, '--version']), { status: 0, stdout: /^plyfs version/ });

  t.match(await run(['mount', '-t', 'fuse.plyfs', 'none', mountpoint, '-o', options]), {
    status: 0,
    stderr: '',
  });
  t.match(mountAt(mountpoint), { type: 'fuse.plyfs', source: 'none' });
  await succeed(['sh', '-c', 'echo more >>"$0/low"', mountpoint]);
  await succeed(['mount', '-o', 'remount,ro', mountpoint]);
  t.match(await run(['touch', mountpoint]), { stderr: /Read-only/ });
  await succeed(['umount', mountpoint]);
  t.equal(readFileSync(join(upper, 'low'), 'utf8'), 'low\nmore\n');

  const fstab = join(upper, '../fstab');
  writeFileSync(
    fstab,
    `layers ${mountpoint} fuse.plyfs ro,noauto,nofail,x-systemd.automount,lowerdir=${top}:${bottom} 0 0\n`,
  );
  await succeed(['mount', '--fstab', fstab, mountpoint]);
  t.match(mountAt(mountpoint), { type: 'fuse.plyfs', source: 'layers' });
  t.ok(mountAt(mountpoint)?.options.includes('ro'));
  t.equal(await succeed(['cat', join(mountpoint, 'both')]), 'top\n');
  await succeed(['umount', mountpoint]);

  t.match(
    await run(['mount', '-t', 'fuse.plyfs', 'none', mountpoint, '-o', 'lowerdir=/no/such/layer']),
    { stderr: /\/no\/such\/layer/ },
  );
  t.equal(mountAt(mountpoint), undefined);
});

t.test(
  'an installed plyfs does not need the checkout',
  { skip: !isRoot && 'mounts as root' },
  async (t) => {
    const destination = await temporaryDirectory(t);
    await succeed([
      'make',
      '--no-print-directory',
      '-C',
      root,
      'install',
      `DESTDIR=${destination}`,
      'PREFIX=/opt/plyfs',
    ]);
    const installed = join(destination, 'opt/plyfs');
    t.equal(
      (await run(['grep', '-rlF', root, installed])).stdout,
      '',
      'nothing in it names the checkout',
    );
    const { mountpoint, top } = await layers(t);
    // Without the checkout in sight, and without node in PATH.
    const words = [
      'unshare',
      '-m',
      'sh',
      '-c',
      'mount -t tmpfs none "$0" && PATH=/usr/sbin:/sbin:/bin && "$@" && ls "$MNT" && umount "$MNT"',
    ];
    const outcome = await run(
      [...words, root, join(installed, 'bin/plyfs'), '-o', `lowerdir=${top}`, mountpoint],
      {
        env: { ...process.env, MNT: mountpoint },
      },
    );
    t.match(outcome, { status: 0, stdout: 'both\n', stderr: '' });
  },
);
