/**
 * dockerd with its `fuse-overlayfs` storage driver and plyfs first in PATH under that name:
 * containers run on our file system. The engine has its own data root and socket, no network, and
 * is ended by its own process id.
 */
import t from 'tap';
import { symlink, writeFile } from 'node:fs/promises';
import { succeed } from '../support/command.js';
import { root } from '../support/root.js';
import { workspace } from '../suites/workspace.js';
import { startDockerd } from '../support/private-dockerd.js';

t.setTimeout(180_000);
if (process.getuid?.() !== 0) t.pass('needs root', { skip: 'dockerd needs root' });
else {
  const base = await workspace(
    t,
    'bin',
    'root',
    'exec',
    'image/bin',
    'image/etc',
    'image/data/deep',
  );
  await symlink(`${root}/bin/plyfs`, `${base}/bin/fuse-overlayfs`);
  const { docker } = await startDockerd(t, base, {
    storageDriver: 'fuse-overlayfs',
    path: `${base}/bin:`,
  });

  await succeed(['cp', '/bin/busybox', `${base}/image/bin/busybox`]);
  for (const name of ['sh', 'ls', 'cat', 'rm', 'mv', 'mkdir', 'grep'])
    await symlink('busybox', `${base}/image/bin/${name}`);
  await writeFile(`${base}/image/etc/greeting`, 'hello\n');
  await writeFile(`${base}/image/data/deep/file`, 'to be hidden\n');
  await succeed(['tar', '-cf', `${base}/image.tar`, '-C', `${base}/image`, '.']);

  await t.test('a container runs, and what it changed is found', async (t) => {
    await docker('import', `${base}/image.tar`, 'base:1');
    const script = `grep -o 'fuse.fuse-overlayfs' /proc/mounts
      echo again >> /etc/greeting
      rm -r /data && mkdir /data && echo new > /data/new
      mv /data /moved && mkdir /data`;
    t.equal(
      await docker('run', '--name', 'one', '--network', 'none', 'base:1', 'sh', '-c', script),
      'fuse.fuse-overlayfs',
    );
    const changes = (await docker('diff', 'one')).split('\n').sort();
    for (const line of ['C /etc/greeting', 'A /moved', 'A /moved/new', 'D /data/deep'])
      t.ok(changes.includes(line), line);
    await docker('commit', 'one', 'base:2');
    const seen = await docker(
      'run',
      '--rm',
      '--network',
      'none',
      'base:2',
      'sh',
      '-c',
      'cat /etc/greeting; ls /moved; ls /data',
    );
    t.equal(seen, 'hello\nagain\nnew');
    await docker('rm', 'one');
  });
}
