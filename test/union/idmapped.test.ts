/**
 * An idmapped mount of a union (mount_setattr(2)): ids are shown mapped, and recorded as the layers
 * have them. Linux 6.12 has them on FUSE.
 */
import { join } from 'node:path';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { root } from '../support/root.js';
import { O_RDWR } from '../suites/constants.js';
import { Actor } from '../suites/actor.js';
import { workspace } from '../suites/workspace.js';
import type { UnionScene } from '../suites/union/scene.js';
import { onUnion } from './with-union.js';

t.setTimeout(120_000);

const FIRST = 100_000;
const MAPPING = `0 ${FIRST} 65536`;
const ACL = 'system.posix_acl_access';

const programs = await workspace(t);
await succeed([
  'cc',
  '-O1',
  '-Wall',
  '-o',
  `${programs}/idmapped-mount`,
  join(root, 'test/suites/idmapped-mount.c'),
]);

/**
 * Mounts the union, and again with its ids mapped at `idmapped` beside it. Undefined: the kernel
 * has no such mounts.
 */
async function mapped(s: UnionScene): Promise<string | undefined> {
  await s.mount();
  const target = `${s.union.base}/idmapped`;
  await s.disk.mkdir('idmapped');
  const { status, stderr } = await run([
    `${programs}/idmapped-mount`,
    s.union.mnt,
    target,
    MAPPING,
  ]);
  if (status === 2) {
    s.t.pass('idmapped mounts', { skip: `the kernel has none for FUSE: ${stderr.trim()}` });
    return undefined;
  }
  s.t.equal(status, 0, stderr);
  return target;
}

function owner({ uid, gid }: { uid: number; gid: number }): string {
  return `${uid}:${gid}`;
}

for (const [name, options, disk] of [
  ['owners on the files', [], { new: '1000:2000', file: '3:4' }],
  ['owners kept in xattrs', ['xattr_permissions=2'], { new: '0:0', file: '0:0' }],
] as const) {
  await onUnion(t, name, { needsRoot: true, options }, async (s) => {
    await s.lay('lower1', { file: 'x', other: 'x', 'dir/gone': 'x' });
    await s.disk.lchown('lower1/other', 5, 6);
    await succeed(['setfacl', '-m', 'u:7:rw', `${s.union.base}/lower1/other`]);
    await s.disk.chmod('upper', 0o777);
    await s.disk.chmod('lower1/dir', 0o777);
    const target = await mapped(s);
    if (target === undefined) return;
    const admin = await Actor.start({ cwd: target });
    const user = await Actor.start({
      cwd: target,
      identity: { uid: FIRST + 1000, gid: FIRST + 2000 },
    });
    const getfacl = async (path: string): Promise<string> => succeed(['getfacl', '-nc', path]);

    s.t.equal(owner(await admin.lstat('file')), `${FIRST}:${FIRST}`);
    s.t.equal(owner(await admin.lstat('other')), `${FIRST + 5}:${FIRST + 6}`);
    s.t.match(
      await getfacl(`${target}/other`),
      new RegExp(`^user:${FIRST + 7}:rw-$`, 'm'),
      'an ACL of the layer',
    );

    await user.put('new', 'x');
    await user.mkdir('made');
    await user.symlink('x', 'link');
    await user.mknod('pipe', 0o010644);
    await user.unlink('dir/gone');
    await user.mkdir('dir/gone');
    await user.rename('new', 'dir/new');
    for (const path of ['dir/new', 'made', 'link', 'pipe', 'dir/gone']) {
      if (path === 'link' && options.length > 0) continue;
      s.t.equal(owner(await user.lstat(path)), `${FIRST + 1000}:${FIRST + 2000}`, path);
      s.t.equal(owner(await s.mnt.lstat(path)), '1000:2000', `${path} without the mapping`);
    }
    s.t.equal(owner(await s.disk.lstat('upper/dir/new')), disk.new);
    await user.write(await user.open('dir/new', O_RDWR), 'changed', 0);
    await user.chmod('dir/new', 0o600);
    await s.fails(
      'EACCES',
      (await s.start({ identity: { uid: FIRST + 1000, gid: FIRST + 2000 } })).open(
        'dir/new',
        O_RDWR,
      ),
      'another user there',
    );

    await admin.lchown('file', FIRST + 3, FIRST + 4);
    s.t.equal(owner(await admin.lstat('file')), `${FIRST + 3}:${FIRST + 4}`);
    s.t.equal(owner(await s.mnt.lstat('file')), '3:4');
    s.t.equal(owner(await s.disk.lstat('upper/file')), disk.file);
    await s.fails('EOVERFLOW', admin.lchown('file', 5, 5), 'an id without a place in the mapping');
    await s.fails('EOVERFLOW', admin.put('by-root', 'x'), 'a creator without a place');

    await succeed(['setfacl', '-m', `u:${FIRST + 9}:r`, `${target}/file`]);
    s.t.match(await getfacl(`${target}/file`), new RegExp(`^user:${FIRST + 9}:r--$`, 'm'));
    for (const path of [`${s.union.mnt}/file`, `${s.union.upper}/file`])
      s.t.match(await getfacl(path), /^user:9:r--$/m, 'recorded as on disk');
    s.t.ok((await s.disk.listxattr('upper/file')).includes(ACL));
    for (const actor of [user, admin]) await actor.end();
    await succeed(['umount', target]);
    s.t.equal(owner(await s.mnt.lstat('file')), '3:4', 'the union goes on');
  });
}
