/** The commands about mounts, through the built program. */
import { readdirSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import t from 'tap';
import type { Test } from 'tap';
import { archiveOf, docker20, imageOf } from '../image/fixture.js';
import { run, succeed } from '../support/command.js';
import { daemonsOf, mountAt } from '../support/mounts.js';
import { plyfsProgram } from '../support/plyfs.js';
import { plyOn, plyProgram, type Ply } from '../support/ply.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(180_000);
const noRoot = !isRoot && 'layers with their owners need root';

async function scene(t: Test): Promise<{ base: string; mnt: string; ply: Ply }> {
  const base = await workspace(t, 'mnt', 'other');
  const ply = plyOn(`${base}/root`);
  for (const tag of ['one:1', 'two:1']) {
    const image = await imageOf([{ 'etc/motd': `${tag}\n` }, { 'etc/issue': 'issue\n' }]);
    await writeFile(`${base}/image.tar`, await archiveOf(docker20([{ image, tags: [tag] }])));
    await ply('load', '-q', '-i', `${base}/image.tar`);
  }
  return { base, mnt: `${base}/mnt`, ply };
}

/** What `ply mounts` says of it: other mounts may be there. */
async function mountOf(ply: Ply, mountpoint: string): Promise<unknown> {
  const mounts = (await ply.json('mounts')) as { mountpoint: string }[];
  return mounts.find((mount) => mount.mountpoint === mountpoint);
}

t.test('a writable mount keeps what was written, under its name', { skip: noRoot }, async (t) => {
  const { base, mnt, ply } = await scene(t);
  const name = await ply('mount', 'one:1', mnt);
  t.match(name, /^[a-z]+_[a-z_]+$/, 'a name like docker’s');
  t.same(readdirSync(`${mnt}/etc`).sort(), ['issue', 'motd'], 'the image and nothing else');
  await writeFile(`${mnt}/etc/motd`, 'changed\n');
  t.match(await mountOf(ply, mnt), { name, image: 'one:1', readOnly: false, uid: 0 });
  t.match(
    await ply('mounts'),
    new RegExp(`^${mnt} +${name} +one:1 +rw +0 +${base}/root/overlay2/`, 'm'),
  );
  t.match(await ply.outcome('mount', name, `${base}/other`), {
    status: 1,
    stderr: new RegExp(mnt),
  });
  t.match(await ply.outcome('rm', name), { status: 1, stderr: /unmount it first/ });
  t.match(await ply.outcome('rmi', 'one:1'), { status: 1, stderr: new RegExp(name) });

  await ply('umount', name);
  t.equal(mountAt(mnt), undefined);
  t.match(await ply.outcome('umount', name), { status: 1, stderr: /not mounted/ });
  t.match(
    await ply('mounts', '-a', '--format', '{{.Name}}|{{.Mountpoint}}'),
    new RegExp(`^${name}\\|$`, 'm'),
  );
  t.equal(await ply('mount', name, `${base}/other`), name);
  t.equal(await readFile(`${base}/other/etc/motd`, 'utf8'), 'changed\n');
  await ply('umount', `${base}/other`);
  await ply('rm', name);
  t.equal(
    await ply('mounts', '-a', '--format', '{{.Name}}').then((names) => names.includes(name)),
    false,
  );
  t.equal(await ply('rmi', 'one:1').then((text) => text.split('\n')[0]), 'Untagged: one:1');
});

t.test('--name makes a layer, and mounts it again', { skip: noRoot }, async (t) => {
  const { base, mnt, ply } = await scene(t);
  t.equal(await ply('mount', '--name', 'web', 'one:1', mnt), 'web');
  await writeFile(`${mnt}/new`, 'new\n');
  await ply('umount', 'web');
  t.equal(await ply('mount', '--name', 'web', 'one:1', mnt), 'web');
  t.equal(await readFile(`${mnt}/new`, 'utf8'), 'new\n');
  await ply('umount', mnt);
  t.match(await ply.outcome('mount', '--name', 'web', 'two:1', mnt), {
    status: 1,
    stderr: /another image/,
  });
  t.match(await ply.outcome('mount', '--name', '../x', 'one:1', mnt), {
    status: 1,
    stderr: /cannot name/,
  });
  t.match(await ply.outcome('mount', 'none:1', mnt), { status: 1, stderr: /none:1/ });
  t.match(await ply.outcome('mount', '--name', 'fresh', 'one:1', `${base}/none`), {
    status: 1,
    stderr: /make that directory first/,
  });
  t.match(await ply.json('inspect', 'web'), [{ Name: 'web', Mounts: [] }]);
  t.equal(
    await ply('mounts', '-a', '--format', '{{.Name}}').then((names) => names.includes('fresh')),
    false,
    'a mount that failed leaves no layer',
  );
  await ply('mount', 'web', mnt);
  t.equal(await ply('rm', '-f', 'web'), 'web');
  t.equal(mountAt(mnt), undefined);
});

t.test('--ro makes no layer, for images and for single layers', { skip: noRoot }, async (t) => {
  const { mnt, ply } = await scene(t);
  t.equal(await ply('mount', '--ro', 'one:1', mnt), '');
  t.match(await run(['touch', `${mnt}/x`]), { status: 1, stderr: /Read-only/ });
  t.same(readdirSync(`${mnt}/etc`).sort(), ['issue', 'motd']);
  const id = await ply('images', '-q', 'one:1');
  t.equal(
    await ply('rmi', '-f', 'one:1'),
    'Untagged: one:1',
    'what is shown is not deleted, as what a container runs is not',
  );
  await ply('umount', mnt);
  const [, base] = (await ply.json('layers', id)) as { chainId: string }[];
  t.same(await ply.json('mount', '--ro', base!.chainId.slice(7, 19), mnt), {
    directory: mnt,
    by: 'fuse',
    readOnly: true,
  });
  t.same(readdirSync(`${mnt}/etc`), ['motd']);
  await ply('umount', mnt);
  t.same(
    await ply('mounts', '-a', '--format', '{{.Name}}').then((names) =>
      names.split('\n').filter((name) => name !== ''),
    ),
    [],
  );
});

t.test('--mounter kernel', { skip: noRoot }, async (t) => {
  const { mnt, ply } = await scene(t);
  const name = await ply('--mounter', 'kernel', 'mount', 'one:1', mnt);
  t.equal(mountAt(mnt)?.type, 'overlay');
  t.match(await mountOf(ply, mnt), { name, image: 'one:1', readOnly: false });
  await ply('umount', mnt);
  t.equal(mountAt(mnt), undefined);
});

t.test('the storage drivers', { skip: noRoot }, async (t) => {
  for (const driver of ['overlay2', 'fuse-overlayfs', 'aufs', 'vfs']) {
    const base = await workspace(t, 'mnt');
    const ply = plyOn(`${base}/root`, '--storage-driver', driver);
    const image = await imageOf([
      { 'etc/motd': 'hello\n', 'etc/gone': '' },
      { 'etc/.wh.gone': '' },
    ]);
    await writeFile(`${base}/image.tar`, await archiveOf(docker20([{ image, tags: ['one:1'] }])));
    await ply('load', '-q', '-i', `${base}/image.tar`);
    t.match(await ply('info'), new RegExp(`^Storage Driver: ${driver}$`, 'm'));
    const name = await ply('mount', 'one:1', `${base}/mnt`);
    t.same(readdirSync(`${base}/mnt/etc`), ['motd'], driver);
    await mkdir(`${base}/mnt/new`);
    t.match(
      await ply('mounts', '--format', '{{.Mountpoint}} {{.Name}}'),
      new RegExp(`^${base}/mnt ${name}$`, 'm'),
      driver,
    );
    await ply('umount', name);
    await ply('rm', name);
    t.same(await ply.json('fsck', '--deep', '-q'), { repaired: [], left: [] }, driver);
  }
});

t.test(
  'umount returns when the layers are let go',
  { skip: !isRoot && 'a file system is mounted for the layers' },
  async (t) => {
    const base = await workspace(t, 'fs', 'mnt');
    const [fs, mnt] = [`${base}/fs`, `${base}/mnt`];
    await succeed(['mount', '-t', 'tmpfs', 'layers', fs]);
    for (const name of ['lower', 'upper', 'work']) await mkdir(`${fs}/${name}`);
    for (let i = 0; i < 20; i++) {
      await mkdir(`${fs}/lower/${i}`);
      await Promise.all(
        Array.from({ length: 500 }, (_, j) => writeFile(`${fs}/lower/${i}/${j}`, 'x')),
      );
    }
    const mount = async (): Promise<void> => {
      await succeed([
        plyfsProgram,
        '-o',
        `lowerdir=${fs}/lower,upperdir=${fs}/upper,workdir=${fs}/work`,
        mnt,
      ]);
      // Answered by the process itself: from then on it can be waited for.
      await succeed([plyProgram, 'explain', mnt, '0/0']);
    };
    await mount();
    await run(['sh', '-c', 'ls -lR "$1" >/dev/null', 'sh', mnt]);
    await succeed([plyProgram, 'umount', mnt]);
    t.same(daemonsOf(mnt), [], 'with 10,000 nodes');
    await mount();
    t.match(await run(['sh', '-c', '"$1" umount "$2" && umount "$3"', 'sh', plyProgram, mnt, fs]), {
      status: 0,
      stderr: '',
    });
  },
);
