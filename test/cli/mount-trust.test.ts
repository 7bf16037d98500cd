/**
 * What a stranger's image may do where `ply mount` and `ply bundle` show it on the host: set-id
 * programs and devices, for other users.
 */
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import t from 'tap';
import { run, succeed, type Outcome } from '../support/command.js';
import { plyOn } from '../support/ply.js';
import { asNobody, isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(180_000);
const noRoot = !isRoot && 'layers with their owners need root';

const ways: Readonly<Record<string, readonly string[]>> = {
  'overlay2 by plyfs': [],
  "overlay2 by the kernel's overlay": ['--mounter', 'kernel'],
  'fuse-overlayfs': ['--storage-driver', 'fuse-overlayfs'],
  aufs: ['--storage-driver', 'aufs'],
  vfs: ['--storage-driver', 'vfs'],
};

/** `id`, set-id root for everybody, and a device that reads as zeros, for everybody. */
async function strangersImage(base: string): Promise<string> {
  const script =
    'mkdir tree; cp -L "$(command -v id)" tree; chmod 4755 tree/id; mknod -m 666 tree/zero c 1 5; tar -C tree -cf image.tar .';
  await succeed(['sh', '-euc', script], { cwd: base });
  return `${base}/image.tar`;
}

t.test('ply mount', { skip: noRoot }, async (t) => {
  const base = await workspace(t, 'mnt');
  const image = await strangersImage(base);
  const mnt = `${base}/mnt`;
  const idOf = (): Promise<Outcome> => run([...asNobody, `${mnt}/id`, '-u']);
  const readDevice = (): Promise<Outcome> => run(['head', '-c', '1', `${mnt}/zero`]);
  for (const [name, globals] of Object.entries(ways)) {
    await t.test(name, async (t) => {
      const ply = plyOn(`${base}/${name.replace(/\W/g, '')}`, ...globals);
      await ply('import', image, 'image:1');
      for (const options of [
        ...(globals[0] === '--storage-driver' ? [] : [['--ro']]),
        ['--name', 'one'],
      ]) {
        await ply('mount', ...options, 'image:1', mnt);
        t.match(
          await idOf(),
          { status: 0, stdout: '65534\n' },
          'a set-id program runs as who runs it',
        );
        t.match(
          await readDevice(),
          { status: 1, stdout: '', stderr: /Permission denied/ },
          'a device is not opened, by root neither',
        );
        t.equal(statSync(`${mnt}/id`).mode & 0o7777, 0o4755, 'it is shown as it is');
        await ply('umount', mnt);
      }
      await ply('mount', '--suid', '--dev', 'one', mnt);
      t.match(await idOf(), { status: 0, stdout: '0\n' }, 'asked for');
      t.match(await readDevice(), { status: 0, stdout: '\0' }, 'asked for');
      await ply('umount', mnt);
    });
  }
});

t.test('ply bundle', { skip: noRoot }, async (t) => {
  const base = await workspace(t);
  const image = await strangersImage(base);
  const ply = plyOn(`${base}/root`);
  await ply('import', image, 'image:1');
  mkdirSync(`${base}/open`);
  t.match(await ply.outcome('bundle', 'image:1', `${base}/open`, '/id'), {
    status: 1,
    stderr: /open to other users.*chmod go-rwx/,
  });
  t.same(await ply.json('ps', '-a'), [], 'nothing is left of it');
  await ply('bundle', '--name', 'one', 'image:1', `${base}/bundle`, '/id', '-u');
  // setpriv(1) itself still has root's capabilities when it runs its program.
  const byNobody = await run([...asNobody, 'sh', '-c', `${base}/bundle/rootfs/id -u`]);
  t.match(byNobody, { status: 126, stderr: /Permission denied/ }, 'nobody else comes in');
  t.match(await run(['head', '-c', '1', `${base}/bundle/rootfs/zero`]), {
    status: 1,
    stderr: /Permission denied/,
  });
  // A runtime's bind mount has the flags of what it is made of: set-id programs are to work in the
  // container.
  t.match(await run([`${base}/bundle/rootfs/id`, '-u']), { status: 0, stdout: '0\n' });
  const { linux } = JSON.parse(readFileSync(`${base}/bundle/config.json`, 'utf8')) as {
    linux: { seccomp: { defaultAction: string; syscalls: { names: string[]; action: string }[] } };
  };
  const allowed = new Set(
    linux.seccomp.syscalls
      .filter(({ action }) => action === 'SCMP_ACT_ALLOW')
      .flatMap(({ names }) => names),
  );
  t.equal(linux.seccomp.defaultAction, 'SCMP_ACT_ERRNO');
  t.ok(
    allowed.has('openat') &&
      allowed.has('chroot') &&
      !allowed.has('mount') &&
      !allowed.has('unshare'),
    "Docker's profile is in it",
  );
  await ply('umount', 'one');
});
