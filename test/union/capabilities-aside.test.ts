/**
 * File capabilities of layers whose owners are kept in `user.containers.override_stat`: kept
 * beside, as `user.containers.override_security.capability` (fuse-overlayfs from 1.14 on). The
 * layers are made by hand in that form.
 */
import { chownSync } from 'node:fs';
import t from 'tap';
import { applyLayer } from '../../src/archive/apply-layer.js';
import { compareTrees } from '../../src/archive/changes.js';
import { LayerReader } from '../../src/archive/layer-reader.js';
import { packTree } from '../../src/archive/pack-layer.js';
import { run, succeed } from '../support/command.js';
import { asNobody, copyProgram, isRoot, NOBODY, openFuseDevice } from '../support/users.js';
import { O_RDWR } from '../suites/constants.js';
import { workspace } from '../suites/workspace.js';
import { onUnion } from './with-union.js';

t.setTimeout(120_000);

const ASIDE = 'user.containers.override_security.capability';
const CAPABILITY = 'security.capability';
/**
 * cap_net_raw=ep, of the second revision (linux/capability.h, struct vfs_cap_data): magic and flag,
 * permitted, inheritable, twice.
 */
const netRaw = Buffer.from('0100000200200000000000000000000000000000', 'hex');
const shownRaw = netRaw.toString('latin1');

await onUnion(
  t,
  'shown, carried by copy-up, set, and taken by whatever changes data or owner',
  { needsRoot: true, options: ['xattr_permissions=2', 'override_stat'] },
  async (s) => {
    await s.lay('lower1', { ping: 'binary', copied: 'binary', tool: 'binary' });
    await s.disk.setxattr('lower1', 'user.containers.override_stat', '0:0:0755:dir');
    await s.disk.setxattr('lower1/ping', 'user.containers.override_stat', '0:0:0755:file');
    await s.disk.setxattr('lower1/ping', ASIDE, netRaw);
    await s.disk.setxattr('lower1/copied', ASIDE, netRaw);
    await s.mount();
    const shown = () => s.mnt.getxattr('ping', CAPABILITY).catch(() => 'none');
    s.t.equal(await shown(), shownRaw);
    s.t.same(await s.mnt.listxattr('ping'), [CAPABILITY], 'under its own name alone');
    await s.mnt.utimens('ping', [1, 0], [1, 0]);
    s.t.equal(await shown(), shownRaw, 'after copy-up');
    s.t.same(
      await s.disk.listxattr('upper/ping'),
      [ASIDE, 'user.containers.override_stat', 'trusted.overlay.origin'].sort(),
      'kept aside',
    );
    const fd = await s.mnt.open('ping', O_RDWR);
    const changes: Readonly<Record<string, () => Promise<unknown>>> = {
      write: () => s.mnt.write(fd, 'x', 0),
      'another write': () => s.mnt.write(fd, 'y', 0),
      truncate: () => s.mnt.ftruncate(fd, 3),
      fallocate: () => s.mnt.fallocate(fd, 0, 0, 100),
      chown: () => s.mnt.lchown('ping', 5, 6),
      removexattr: () => s.mnt.removexattr('ping', CAPABILITY),
    };
    for (const [what, change] of Object.entries(changes)) {
      await s.mnt.setxattr('ping', CAPABILITY, netRaw);
      s.t.equal(await shown(), shownRaw, `set before ${what}`);
      await change();
      s.t.equal(await shown(), 'none', `gone after ${what}`);
      s.t.equal(
        (await s.disk.listxattr('upper/ping')).includes(ASIDE),
        false,
        `on disk, too: ${what}`,
      );
    }
    // One that native/ was given no writable descriptor of when it was copied up.
    await s.mnt.utimens('copied', [1, 0], [1, 0]);
    await s.mnt.write(await s.mnt.open('copied', O_RDWR), 'BINARY', 0);
    s.t.equal(await s.mnt.get('copied'), 'BINARY');
    await s.fails('ENODATA', s.mnt.getxattr('copied', CAPABILITY));
    await s.mnt.setxattr('tool', CAPABILITY, netRaw);
    await s.mnt.rename('tool', 'renamed');
    await s.mnt.chmod('renamed', 0o700);
    await s.remount();
    s.t.equal(await s.mnt.getxattr('renamed', CAPABILITY), shownRaw, 'after a remount');
  },
);

await t.test(
  'an ordinary user: setcap in a namespace with one id',
  { skip: !isRoot && 'needs root to become another' },
  async (t) => {
    openFuseDevice(t);
    const base = await workspace(t, 'lower', 'upper', 'work', 'mnt', 'program');
    const program = copyProgram(`${base}/program`);
    await succeed(
      [
        'sh',
        '-ec',
        'echo x >lower/tool; setfattr -n user.containers.override_stat -v 0:0:0755:dir lower',
      ],
      { cwd: base },
    );
    for (const name of ['.', 'lower', 'lower/tool', 'upper', 'work', 'mnt'])
      chownSync(`${base}/${name}`, NOBODY, NOBODY);
    const options = `lowerdir=${base}/lower,upperdir=${base}/upper,workdir=${base}/work,xattr_permissions=2,permissions=off`;
    await succeed([...asNobody, `${program}/bin/plyfs`, '-o', options, `${base}/mnt`]);
    const value = `0x${netRaw.toString('hex')}`;
    const script = `setfattr -n ${CAPABILITY} -v ${value} tool && getfattr --only-values -n ${CAPABILITY} tool | od -An -tx1 | tr -d ' \\n'; echo more >>tool; getfattr -n ${CAPABILITY} tool`;
    const outcome = await run([
      ...asNobody,
      'unshare',
      '-Ur',
      'sh',
      '-c',
      `cd "$0" && ${script}`,
      `${base}/mnt`,
    ]);
    t.match(outcome, { stdout: /^0100000[23]00200000/, stderr: /No such attribute/ });
    await succeed(['umount', `${base}/mnt`]);
  },
);

await t.test(
  'applied from a layer’s tar, compared, and packed again',
  { skip: !isRoot && 'needs root: the kernel lets root alone set one' },
  async (t) => {
    const base = await workspace(t, 'tree', 'first', 'second');
    await succeed(
      [
        'sh',
        '-ec',
        `echo x >tree/ping; setfattr -n ${CAPABILITY} -v 0x${netRaw.toString('hex')} tree/ping`,
      ],
      { cwd: base },
    );
    const pack = (path: string, ownership: 'real' | 'override') =>
      packTree(`${base}/${path}`, { form: 'overlay', ownership });
    await applyLayer(new LayerReader(pack('tree', 'real')), `${base}/first`, {
      whiteouts: 'overlay',
      ownership: 'override',
    });
    t.match((await succeed(['getfattr', '-d', '-m', '-', `${base}/first/ping`])).split('\n'), [
      /^#/,
      new RegExp(`^${ASIDE}=`),
      /override_stat/,
    ]);
    await applyLayer(new LayerReader(pack('first', 'override')), `${base}/second`, {
      whiteouts: 'overlay',
      ownership: 'real',
    });
    t.match(
      await succeed(['getfattr', '-n', CAPABILITY, '-e', 'hex', `${base}/second/ping`]),
      netRaw.toString('hex'),
    );
    await succeed(['cp', '-a', `${base}/first`, `${base}/changed`]);
    t.same(compareTrees(`${base}/changed`, `${base}/first`, { ownership: 'override' }), []);
    await succeed(['setfattr', '-x', ASIDE, `${base}/changed/ping`]);
    t.match(compareTrees(`${base}/changed`, `${base}/first`, { ownership: 'override' }), [
      { kind: 'C', path: '/ping' },
    ]);
  },
);
