/**
 * podman and buildah with plyfs as their mount program, under the name they know: fuse-overlayfs. An image is made, changed in
 * a container, committed, and built upon; what the layers hold is what was done through the mount.
 */
import t from 'tap';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { succeed } from '../support/command.js';
import { mountAt, unmountAll } from '../support/mounts.js';
import { root } from '../support/root.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(180_000);
if (process.getuid?.() !== 0) t.pass('needs root', { skip: 'containers of root need root' });
else {
  const base = await workspace(t, 'bin', 'image/bin', 'image/etc', 'image/data/deep');
  await symlink(`${root}/bin/plyfs`, `${base}/bin/fuse-overlayfs`);
  await writeFile(
    `${base}/storage.conf`,
    `[storage]
driver = "overlay"
runroot = "${base}/run"
graphroot = "${base}/graph"
[storage.options.overlay]
mount_program = "${base}/bin/fuse-overlayfs"
`,
  );
  const environment = { ...process.env, CONTAINERS_STORAGE_CONF: `${base}/storage.conf` };
  const podman = async (...words: string[]): Promise<string> => (await succeed(['podman', ...words], { env: environment })).trim();
  const buildah = async (...words: string[]): Promise<string> => (await succeed(['buildah', ...words], { env: environment })).trim();
  t.teardown(async () => {
    await buildah('rm', '-a').catch(() => undefined);
    await podman('rm', '-af').catch(() => undefined);
    await unmountAll(base);
  });

  await succeed(['cp', '/bin/busybox', `${base}/image/bin/busybox`]);
  for (const name of ['sh', 'ls', 'cat', 'rm', 'mv', 'mkdir']) await symlink('busybox', `${base}/image/bin/${name}`);
  await writeFile(`${base}/image/etc/greeting`, 'hello\n');
  await writeFile(`${base}/image/data/deep/file`, 'to be hidden\n');
  await succeed(['tar', '-cf', `${base}/image.tar`, '-C', `${base}/image`, '.']);

  await t.test('podman: import, mount, change, diff, commit', async (t) => {
    await podman('import', '-q', `${base}/image.tar`, 'base:1');
    const container = await podman('create', 'base:1', 'sh');
    const mnt = await podman('mount', container);
    t.equal(mountAt(mnt)?.type, 'fuse.fuse-overlayfs', 'the container is on our file system');
    await writeFile(`${mnt}/etc/greeting`, 'hello again\n', { flag: 'a' });
    await succeed(['rm', '-r', `${mnt}/data`]);
    await mkdir(`${mnt}/data`);
    await writeFile(`${mnt}/data/new`, 'new\n');
    const changes = (await podman('diff', container)).split('\n');
    for (const line of ['C /etc/greeting', 'A /data/new']) t.ok(changes.includes(line), line);
    await podman('umount', container);
    await podman('commit', '-q', container, 'base:2');
    await podman('rm', container);
  });

  await t.test('buildah: from, run, copy, commit', async (t) => {
    const container = await buildah('from', '--name', 'working', 'base:2');
    const seen = await buildah('run', '--isolation', 'chroot', container, '--', '/bin/sh', '-c', 'cat /etc/greeting; ls /data');
    t.equal(seen, 'hello\nhello again\nnew', 'the opaque directory hides what was there before');
    await buildah('run', '--isolation', 'chroot', container, '--', '/bin/sh', '-c', 'mv /data /moved && rm /bin/mkdir');
    await writeFile(`${base}/copied`, 'copied\n');
    await buildah('copy', '-q', container, `${base}/copied`, '/etc/copied');
    await buildah('commit', '-q', container, 'base:3');
    const again = await buildah('from', 'base:3');
    const mnt = await buildah('mount', again);
    t.same(await readdir(`${mnt}/moved`), ['new']);
    t.equal(await readFile(`${mnt}/etc/copied`, 'utf8'), 'copied\n');
    t.notOk((await readdir(`${mnt}/bin`)).includes('mkdir'));
    t.notOk((await readdir(mnt)).includes('data'));
    await buildah('umount', again);
  });
}
