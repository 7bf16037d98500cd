/**
 * The layer that images for container programs start from: busybox, the tools of xattrs and
 * capabilities, and files of every kind.
 */
import { chmod, copyFile, link, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { succeed } from '../support/command.js';

/** All entries of the layer are of that time, in seconds. */
const LAYER_TIME = 1_000_000_000;

const applets =
  'sh ls cat rm mv mkdir ln chmod chown cp id touch echo mkfifo stat test readlink'.split(' ');
const tools = ['/usr/sbin/setcap', '/usr/bin/setfattr'];

/**
 * Makes `directory` and its tar beside it, whose path it returns. Needs root. `devices`: with a
 * device node, and a FIFO.
 */
export async function baseLayer(directory: string, { devices = true } = {}): Promise<string> {
  for (const name of ['bin', 'etc', 'data/deep', 'gone', 'tmp', 'dev', 'proc', 'sys', 'usr/bin'])
    await mkdir(`${directory}/${name}`, { recursive: true });
  const at = (path: string): string => `${directory}/${path}`;
  await copyFile('/bin/busybox', at('bin/busybox'));
  for (const name of applets) await symlink('busybox', at(`bin/${name}`));
  for (const tool of tools) {
    const needed = (await succeed(['ldd', tool])).match(/\/\S+/g) ?? [];
    for (const path of [tool, ...needed]) {
      await mkdir(at(dirname(path)), { recursive: true });
      await copyFile(path, at(path));
      await chmod(at(path), 0o755);
    }
  }
  await writeFile(at('etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n');
  await writeFile(at('etc/greeting'), 'hello\n');
  await writeFile(at('data/deep/file'), 'to be hidden\n');
  await writeFile(at('gone/file'), 'to be deleted\n');
  await writeFile(at('data/one'), 'one file\n');
  await link(at('data/one'), at('data/two'));
  await copyFile(at('bin/busybox'), at('bin/powerful'));
  if (devices) {
    await succeed(['mknod', '-m', '666', at('dev/zero'), 'c', '1', '5']);
    await succeed(['mkfifo', at('data/pipe')]);
  }
  // chown takes set-id bits and capabilities away.
  await succeed(['chown', '-R', '0:0', directory]);
  await succeed(['chown', '1000:1000', at('data'), at('data/one')]);
  await succeed(['chmod', '2775', at('data')]);
  await succeed(['chmod', '1777', at('tmp')]);
  await succeed(['chmod', '4755', at('bin/powerful')]);
  await succeed(['setcap', 'cap_net_raw+ep', at('bin/powerful')]);
  await succeed(['setfattr', '-n', 'user.note', '-v', 'kept', at('etc/passwd')]);
  const tar = `${directory}.tar`;
  const words = [
    '--sort=name',
    `--mtime=@${LAYER_TIME}`,
    '--numeric-owner',
    '--xattrs',
    '--xattrs-include=*',
  ];
  await succeed(['tar', ...words, '-C', directory, '-cf', tar, '.']);
  return tar;
}
