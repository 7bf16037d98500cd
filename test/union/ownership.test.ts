/**
 * Owners, modes and types that the mount shows and the upper cannot, or should not, hold as such.
 */
import { chownSync, cpSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { root } from '../support/root.js';
import { asNobody, isRoot, NOBODY, openFuseDevice } from '../support/users.js';
import { O_RDWR } from '../suites/constants.js';
import { workspace } from '../suites/workspace.js';
import type { UnionScene } from '../suites/union/scene.js';
import { onUnion } from './with-union.js';

t.setTimeout(120_000);

const needsRoot = true;
const CONTAINERS = 'user.containers.override_stat';

function owner({ uid, gid }: { uid: number; gid: number }): string {
  return `${uid}:${gid}`;
}

await onUnion(
  t,
  'uidmapping and gidmapping',
  { needsRoot, options: ['uidmapping=100000:0:1000:5000:2000:10', 'gidmapping=200000:0:1000'] },
  async (s) => {
    await s.lay('lower1', { root: 'x', user: 'x', high: 'x', outside: 'x', 'dir/x': 'x' });
    await s.disk.lchown('lower1/root', 100000, 200000);
    await s.disk.lchown('lower1/user', 100005, 200006);
    await s.disk.lchown('lower1/high', 5009, 200999);
    await s.disk.lchown('lower1/outside', 5010, 7);
    await s.mount();
    const shown: Record<string, string> = {
      root: '0:0',
      user: '5:6',
      high: '2009:999',
      outside: '65534:65534',
    };
    for (const [name, ids] of Object.entries(shown))
      s.t.equal(owner(await s.mnt.lstat(name)), ids, name);
    await s.mnt.put('new', 'x');
    await s.mnt.mkdir('dir/new');
    await s.mnt.symlink('x', 'link');
    await s.mnt.lchown('link', 3, 4);
    await s.mnt.lchown('root', 2001, 1);
    await s.mnt.chmod('user', 0o600);
    await s.mnt.chmod('outside', 0o600);
    const disk: Record<string, string> = {
      new: '100000:200000',
      'dir/new': '100000:200000',
      link: '100003:200004',
      root: '5001:200001',
      user: '100005:200006',
      outside: '5010:7',
    };
    for (const [name, ids] of Object.entries(disk))
      s.t.equal(owner(await s.disk.lstat(`upper/${name}`)), ids, `${name} on disk`);
    await s.fails('EINVAL', s.mnt.lchown('new', 1500, 0), 'an id without a place');
    await s.fails('EINVAL', s.mnt.lchown('new', 0, 1000), 'a group without a place');
    s.t.equal(owner(await s.mnt.lstat('new')), '0:0', 'a refused chown changes nothing');
    const stranger = await s.start({ identity: { uid: 4000, gid: 4000 } });
    await s.mnt.mkdir('open');
    await s.mnt.chmod('open', 0o777);
    await stranger.put('open/x', 'x');
    await stranger.mkdir('open/d');
    for (const name of ['open/x', 'open/d']) {
      s.t.equal(
        owner(await s.disk.lstat(`upper/${name}`)),
        '65534:65534',
        `${name} of a creator without a place, on disk`,
      );
      s.t.equal(
        owner(await s.mnt.lstat(name)),
        '65534:65534',
        `${name} of a creator without a place`,
      );
    }
    const live = await s.shown();
    await s.remount();
    s.same(await s.shown(), live, 'after a remount');
  },
);

for (const [options, shown, disk] of [
  [['squash_to_root'], '0:0', '0:0'],
  [['squash_to_uid=7', 'squash_to_gid=8'], '7:8', '0:0'],
  [['squash_to_uid=7'], '7:3', '0:0'],
] as const) {
  await onUnion(t, options.join(' '), { needsRoot, options }, async (s) => {
    await s.lay('lower1', { file: 'x' });
    await s.disk.lchown('lower1/file', 2, 3);
    await s.mount();
    s.t.equal(owner(await s.mnt.lstat('file')), shown);
    await s.mnt.put('new', 'x');
    await s.mnt.lchown('new', 11, 12);
    s.t.equal(
      owner(await s.mnt.lstat('new')),
      shown.replace(':3', ':12'),
      'a changed owner is shown as the same',
    );
    await s.mnt.chmod('file', 0o600);
    s.t.equal(owner(await s.disk.lstat('upper/file')), '2:3', 'a copy keeps its owner on disk');
    await s.mnt.put('newer', 'x');
    s.t.equal(owner(await s.disk.lstat('upper/newer')), disk);
    s.t.match(await s.mnt.lstat('newer'), { uid: Number(shown.split(':')[0]) });
  });
}

/** One of every type of file, made by root through the mount. */
async function makeAll(s: UnionScene): Promise<void> {
  const { mnt } = s;
  await mnt.put('file', 'content', 0o4755);
  await mnt.mkdir('dir', 0o2750);
  await mnt.mknod('null', 0o020666, 1, 3);
  await mnt.mknod('disk', 0o060640, 259, 70000);
  await mnt.mknod('pipe', 0o010622);
  await mnt.mknod('socket', 0o140711);
  await mnt.symlink('target', 'link');
  await mnt.put('dir/child', 'x', 0o600);
}

async function overrides(s: UnionScene, attribute: string): Promise<void> {
  await s.lay('lower1', { low: 'lower content', 'below/x': 'x' });
  await s.disk.mknod('lower1/dev', 0o020620, 5, 1);
  await s.disk.lchown('lower1/low', 70, 80);
  await s.disk.lchown('lower1/below', 71, 81);
  await s.mount();
  await makeAll(s);
  await s.mnt.lchown('file', 1234, 5678);
  await s.mnt.chmod('file', 0o4711);
  await s.mnt.lchown('null', 5, 6);
  await s.mnt.chmod('dir', 0o1777);
  await s.mnt.write(await s.mnt.open('low', O_RDWR), 'LOWER', 0);
  await s.mnt.chmod('dev', 0o600);
  await s.mnt.chmod('below', 0o700);
  const wanted: Record<string, string> = {
    file: '1234:5678:04711:file',
    dir: '0:0:01777:dir',
    null: '5:6:0644:char-1-3',
    disk: '0:0:0640:block-259-70000',
    pipe: '0:0:0600:pipe',
    socket: '0:0:0711:socket',
    'dir/child': '0:0:0600:file',
    low: '70:80:0644:file',
    dev: '0:0:0600:char-5-1',
    below: '71:81:0700:dir',
  };
  for (const [name, value] of Object.entries(wanted)) {
    s.t.equal(await s.disk.getxattr(`upper/${name}`, attribute), value, `${name} on disk`);
    const st = await s.disk.lstat(`upper/${name}`);
    s.t.match(
      { type: st.mode >> 12, uid: st.uid, gid: st.gid },
      { type: name === 'dir' || name === 'below' ? 4 : 8, uid: 0, gid: 0 },
      name,
    );
  }
  const st = (name: string) => s.mnt.lstat(name);
  s.t.match(await st('file'), { mode: 0o104711, uid: 1234, gid: 5678 });
  s.t.match(await st('null'), { mode: 0o020644, uid: 5, gid: 6, rdev: '1:3', size: 0 });
  s.t.match(await st('disk'), { mode: 0o060640, rdev: '259:70000' });
  s.t.match(await st('pipe'), { mode: 0o010600 });
  s.t.match(await st('dev'), { mode: 0o020600, rdev: '5:1' });
  s.t.match(await st('link'), { mode: 0o120777 });
  s.t.same(await s.mnt.listxattr('file'), [], 'the attribute is not shown');
  await s.fails('ENODATA', s.mnt.getxattr('file', attribute));
  await s.mnt.setxattr('file', attribute, '0:0:4777');
  s.t.equal(
    await s.mnt.getxattr('file', attribute),
    '0:0:4777',
    'one that is set through the mount is another',
  );
  s.t.match(await st('file'), { mode: 0o104711 });
  await s.mnt.removexattr('file', attribute);
  s.t.equal(await s.mnt.get('low'), 'LOWER content');
  const types = new Map((await s.mnt.list('.')).map((entry) => [entry.name, entry.type]));
  s.t.match(
    Object.fromEntries(types),
    { null: 2, disk: 6, pipe: 1, socket: 12, link: 10, dir: 4, file: 8 },
    'types in a listing',
  );
  const live = await s.shown();
  await s.remount();
  s.same(await s.shown(), live, 'after a remount');
  const again = new Map((await s.mnt.list('.')).map((entry) => [entry.name, entry.type]));
  s.t.same(again, types, 'types in a listing after a remount');
  await s.mnt.rename('null', 'dir/null');
  await s.mnt.unlink('pipe');
  await s.mnt.unlink('disk');
  await s.mnt.mkdir('pipe');
  await s.mnt.link('socket', 'dir/socket');
  await s.mnt.chmod('dir/socket', 0o600);
  s.t.match(await s.mnt.lstat('socket'), { mode: 0o140600, nlink: 2 });
  const changed = await s.shown();
  await s.remount();
  s.same(await s.shown(), changed, 'after changes and a remount');
}

await onUnion(t, 'xattr_permissions=2', { needsRoot, options: ['xattr_permissions=2'] }, (s) =>
  overrides(s, CONTAINERS),
);
await onUnion(t, 'xattr_permissions=1', { needsRoot, options: ['xattr_permissions=1'] }, (s) =>
  overrides(s, 'security.fuseoverlayfs.override_stat'),
);

await onUnion(
  t,
  'with xattr_permissions, other users create, inherit groups, and lose set-id bits',
  { needsRoot, options: ['xattr_permissions=2'] },
  async (s) => {
    await s.mount();
    await s.mnt.mkdir('shared');
    await s.mnt.lchown('shared', 0, 500);
    await s.mnt.chmod('shared', 0o2777);
    const user = await s.start({ identity: { uid: 1000, gid: 1000 }, umask: 0o027 });
    await user.put('shared/file', 'x');
    await user.mkdir('shared/dir');
    s.t.match(await s.mnt.lstat('shared/file'), { uid: 1000, gid: 500, mode: 0o100640 });
    s.t.match(await s.mnt.lstat('shared/dir'), { uid: 1000, gid: 500, mode: 0o042750 });
    await s.mnt.put('tool', 'x');
    await s.mnt.chmod('tool', 0o6777);
    await user.write(await user.open('tool', O_RDWR), 'y', 0);
    s.t.equal((await s.mnt.lstat('tool')).mode, 0o100777, 'a write clears them');
    await s.mnt.chmod('tool', 0o6755);
    await s.mnt.lchown('tool', 3, 4);
    s.t.match(
      await s.mnt.lstat('tool'),
      { uid: 3, gid: 4, mode: 0o100755 },
      'a change of owner clears them',
    );
    await s.fails('EACCES', user.open('shared/../tool', O_RDWR));
    await s.fails('EPERM', user.chmod('tool', 0o777));
  },
);

await onUnion(
  t,
  'layers that carry override_stat: what is understood and what is not',
  { layers: 3, needsRoot, options: ['override_stat'] },
  async (s) => {
    await s.lay('lower3', { plain: 'x', 'merged/below': 'x' });
    await s.lay('lower2', { 'other/x': 'x' });
    await s.disk.setxattr('lower2', 'security.fuseoverlayfs.override_stat', '0:0:755');
    await s.disk.setxattr('lower2/other', 'security.fuseoverlayfs.override_stat', '9:9:0711:dir');
    type Shown = [string, { mode: number; uid: number; gid: number; rdev?: string }];
    const values: Record<string, Shown> = {
      short: ['7:8:0640', { mode: 0o100640, uid: 7, gid: 8 }],
      typed: ['7:8:0640:file', { mode: 0o100640, uid: 7, gid: 8 }],
      bits: ['7:8:0100640', { mode: 0o100640, uid: 7, gid: 8 }],
      setid: ['0:0:6755:file', { mode: 0o106755, uid: 0, gid: 0 }],
      device: ['1:2:0600:char-1-3', { mode: 0o020600, uid: 1, gid: 2, rdev: '1:3' }],
      pipe: ['1:2:0600:pipe', { mode: 0o010600, uid: 1, gid: 2 }],
      lastbyte: ['1:2:0600\0', { mode: 0o100600, uid: 1, gid: 2 }],
      adir: ['1:2:0755:dir', { mode: 0o100755, uid: 1, gid: 2 }],
      dirbits: ['1:2:040755', { mode: 0o100755, uid: 1, gid: 2 }],
      link: ['1:2:0777:symlink', { mode: 0o100777, uid: 1, gid: 2 }],
    };
    const hostile = [
      '',
      ':',
      '1:2',
      'x:y:z',
      '-1:0:0644',
      '4294967295:0:0644',
      '0:99999999999:0644',
      '0:0:0999',
      '0:0:0644:thing',
    ].concat([
      '0:0:0644:char-1',
      '0:0:0644:char-9999-1',
      '0x1:0:0644',
      ' 0:0:0644',
      '0:0:0644:file:more',
      '1'.repeat(400),
    ]);
    for (const [i, value] of hostile.entries())
      values[`bad${i}`] = [value, { mode: 0o100604, uid: 50, gid: 60 }];
    for (const [name, [value]] of Object.entries(values)) {
      await s.disk.put(`lower1/${name}`, '');
      await s.disk.lchown(`lower1/${name}`, 50, 60);
      await s.disk.chmod(`lower1/${name}`, 0o604);
      await s.disk.setxattr(`lower1/${name}`, CONTAINERS, value);
    }
    await s.lay('lower1', { 'merged/top': 'x' });
    await s.disk.setxattr('lower1', CONTAINERS, '0:0:040755');
    await s.disk.setxattr('lower1/merged', CONTAINERS, '3:4:040710');
    await s.mount();
    s.t.match(await s.mnt.lstat('.'), { mode: 0o040755 });
    s.t.match(await s.mnt.lstat('merged'), { mode: 0o040710, uid: 3, gid: 4 });
    s.t.match(await s.mnt.lstat('other'), { mode: 0o040711, uid: 9, gid: 9 });
    s.t.match(await s.mnt.lstat('plain'), { uid: 0, gid: 0 });
    for (const [name, [value, wanted]] of Object.entries(values))
      s.t.match(await s.mnt.lstat(name), wanted, `${name}: ${JSON.stringify(value.slice(0, 30))}`);
    // A copy in an upper that holds owners itself is what the layer says.
    await s.mnt.utimens('device', [1, 0], [2, 0]);
    await s.mnt.setxattr('merged', 'user.a', 'b');
    await s.mnt.utimens('setid', [1, 0], [2, 0]);
    s.t.match(await s.disk.lstat('upper/device'), { mode: 0o020600, uid: 1, gid: 2, rdev: '1:3' });
    s.t.match(await s.disk.lstat('upper/merged'), { mode: 0o040710, uid: 3, gid: 4 });
    s.t.match(await s.disk.lstat('upper/setid'), { mode: 0o106755, uid: 0, gid: 0 });
    for (const name of ['device', 'merged', 'setid'])
      s.t.notOk((await s.disk.listxattr(`upper/${name}`)).includes(CONTAINERS), name);
  },
);

await onUnion(t, 'static_nlink', { options: ['static_nlink'] }, async (s) => {
  await s.lay('lower1', { 'dir/a/x': 'x', 'dir/b/x': 'x' });
  await s.mount();
  await s.mnt.mkdir('new');
  await s.mnt.mkdir('new/sub');
  for (const name of ['.', 'dir', 'new']) s.t.equal((await s.mnt.lstat(name)).nlink, 1, name);
  await s.mnt.put('file', 'x');
  await s.mnt.link('file', 'file2');
  s.t.equal((await s.mnt.lstat('file')).nlink, 2, 'files are counted');
});

await onUnion(t, 'noacl and noxattrs', { needsRoot }, async (s) => {
  await s.lay('lower1', { file: 'x' });
  await s.disk.setxattr('lower1/file', 'user.a', 'b');
  await succeed(['setfacl', '-m', 'u:7:rwx', `${s.union.base}/lower1/file`]);
  const acl = 'system.posix_acl_access';
  const mounted = async (options: string[]) => {
    await s.mounter.mount(
      { lowers: s.union.lowers, upper: s.union.upper, work: `${s.union.base}/work`, options },
      s.union.mnt,
    );
    return s.start();
  };
  const noacl = await mounted(['noacl']);
  s.t.same(await noacl.listxattr('file'), ['user.a']);
  await s.fails('EOPNOTSUPP', noacl.getxattr('file', acl));
  s.t.not((await run(['setfacl', '-m', 'u:8:r', `${s.union.mnt}/file`])).status, 0);
  await noacl.setxattr('file', 'user.a', 'c');
  await noacl.end();
  await s.union.unmount();
  s.t.ok(
    (await s.disk.listxattr('upper/file')).includes(acl),
    'a copy keeps what the mount does not show',
  );
  const noxattrs = await mounted(['noxattrs']);
  for (const call of [
    noxattrs.getxattr('file', 'user.a'),
    noxattrs.setxattr('file', 'user.a', 'd'),
    noxattrs.removexattr('file', 'user.a'),
  ]) {
    await s.fails('EOPNOTSUPP', call);
  }
  s.t.equal(await s.disk.getxattr('upper/file', 'user.a'), 'c');
  await noxattrs.chmod('file', 0o700);
  await noxattrs.end();
  await s.union.unmount();
});

await t.test(
  'an ordinary user keeps owners, modes and types in xattr_permissions=2',
  { skip: !isRoot && 'needs root to become another' },
  async (t) => {
    openFuseDevice(t);
    const base = await workspace(t, 'lower/sub', 'upper', 'work', 'mnt', 'program');
    for (const name of ['.', 'lower', 'lower/sub', 'upper', 'work', 'mnt'])
      chownSync(join(base, name), NOBODY, NOBODY);
    for (const part of [
      'bin',
      'dist/src',
      'build/Release/plyfs.node',
      'package.json',
      'node_modules/lru-cache',
    ]) {
      if (existsSync(join(root, part)))
        cpSync(join(root, part), join(base, 'program', part), { recursive: true });
    }
    mkdirSync(join(base, 'lower/data'));
    const options = `lowerdir=${base}/lower,upperdir=${base}/upper,workdir=${base}/work`;
    const mount = (more: string) =>
      succeed([...asNobody, `${base}/program/bin/plyfs`, '-o', options + more, `${base}/mnt`]);
    const inside = (script: string) =>
      succeed([...asNobody, 'sh', '-c', `cd "$0" && ${script}`, `${base}/mnt`]);

    await mount(',squash_to_root');
    t.equal(await inside('stat -c %u:%g . sub'), '0:0\n0:0\n');
    await succeed(['fusermount3', '-u', `${base}/mnt`]);
    await mount(',xattr_permissions=2');
    await inside(
      'touch made && umask 0 && echo x >file && chmod 0640 file && mkdir dir && chmod 1711 dir && mkfifo pipe && ln -s target link && rm -r data && mkdir data',
    );
    const wanted = `made 644 ${NOBODY}\nfile 640 ${NOBODY}\ndir 1711 ${NOBODY}\npipe 666 ${NOBODY}\nlink 777 ${NOBODY}\ndata 777 ${NOBODY}\n`;
    t.equal(await inside('stat -c "%n %a %u" made file dir pipe link data'), wanted);
    await succeed(['fusermount3', '-u', `${base}/mnt`]);
    t.equal(await succeed(['stat', '-c', '%A %a', `${base}/upper/pipe`]), '-rw------- 600\n');
    t.match(
      await succeed(['getfattr', '--only-values', '-n', CONTAINERS, `${base}/upper/pipe`]),
      `${NOBODY}:${NOBODY}:0666:pipe`,
    );
    t.match(
      await succeed(['getfattr', '--only-values', '-n', CONTAINERS, `${base}/upper/dir`]),
      `${NOBODY}:${NOBODY}:01711:dir`,
    );
    await mount(',xattr_permissions=2');
    t.equal(
      await inside('stat -c "%n %a %u" made file dir pipe link data'),
      wanted,
      'after a remount',
    );
    await succeed(['fusermount3', '-u', `${base}/mnt`]);
  },
);
