/**
 * What an ordinary user does with images by ply, in the data root that ply chooses for them:
 * nothing of it needs root.
 */
import { chownSync, existsSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { mountAt } from '../../src/host/mount-table.js';
import { textOf, type ByteString } from '../../src/base/bytes.js';
import { archiveOf, docker20, imageOfTars } from '../image/fixture.js';
import { run, succeed } from '../support/command.js';
import { daemonsOf } from '../support/mounts.js';
import { tarOf } from '../support/layer-tar.js';
import { NOBODY, asNobody, copyProgram, isRoot, openFuseDevice } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(180_000);
const skip =
  !isRoot &&
  'the test becomes another user, which takes root; as an ordinary user the other tests are this one';

t.test('load, images, mount, change, umount, mount again, save, rm, rmi', { skip }, async (t) => {
  openFuseDevice(t);
  const directory = await workspace(t, 'home/mnt', 'home/run', 'home/tmp');
  const home = `${directory}/home`;
  const mnt = `${home}/mnt`;
  const layers = [
    await tarOf([
      { name: 'etc/', type: 'directory', mode: 0o755 },
      { name: 'etc/shadow', mode: 0o640, gid: 42, content: 'secret\n' },
      { name: 'bin/', type: 'directory', mode: 0o755 },
      { name: 'bin/su', mode: 0o4755, content: '#!/bin/sh\n' },
      { name: 'bin/locate', mode: 0o2755, gid: 7, content: '#!/bin/sh\n' },
      { name: 'dev/', type: 'directory', mode: 0o755 },
      { name: 'dev/null', type: 'character-device', mode: 0o666, devmajor: 1, devminor: 3 },
      { name: 'dev/sda', type: 'block-device', mode: 0o660, gid: 6, devmajor: 8, devminor: 0 },
      { name: 'root/', type: 'directory', mode: 0o700 },
      { name: 'root/notes', mode: 0o600, content: 'x' },
      { name: 'home/', type: 'directory', mode: 0o755 },
      { name: 'home/app/', type: 'directory', mode: 0o750, uid: 1000, gid: 1000 },
      {
        name: 'home/app/link',
        type: 'symlink',
        linkname: '../../etc/shadow',
        uid: 1000,
        gid: 1000,
      },
      { name: 'old', content: 'to be deleted\n' },
    ]),
    await tarOf([
      { name: '.wh.old' },
      { name: 'run/', type: 'directory', mode: 0o1777 },
      { name: 'run/pipe', type: 'fifo', mode: 0o600, uid: 33 },
    ]),
  ];
  writeFileSync(
    `${directory}/image.tar`,
    await archiveOf(docker20([{ image: imageOfTars(layers), tags: ['sample:1'] }])),
  );
  for (const path of [home, `${home}/mnt`, `${home}/run`, `${home}/tmp`])
    chownSync(path, NOBODY, NOBODY);
  const program = copyProgram(directory);
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: '/nonexistent',
    XDG_DATA_HOME: `${home}/data`,
    XDG_RUNTIME_DIR: `${home}/run`,
  };
  const words = [...asNobody, `${program}/bin/ply`];
  const ply = async (...rest: string[]): Promise<string> =>
    textOf((await succeed([...words, ...rest], { env })) as ByteString).trim();
  const shell = (script: string): Promise<string> =>
    succeed([...asNobody, 'sh', '-euc', `cd ${mnt}; ${script}`], { env });
  // Symbolic links belong to who made them.
  const list =
    "find . -mindepth 1 ! -type l -printf '%P %y %m %U:%G\\n' | sort; stat -c '%t:%T' dev/*";

  t.equal(await ply('load', '-q', '-i', `${directory}/image.tar`), 'Loaded image: sample:1');
  t.ok((await ply('info')).includes(`${home}/data/plyfs\n`), 'below XDG_DATA_HOME');
  t.match(await ply('images', '--format', '{{.Repository}}:{{.Tag}}'), 'sample:1');
  t.match(await run([...words, 'mount', '--suid', 'sample:1', mnt], { env }), {
    status: 2,
    stderr: /only root/,
  });
  t.equal(await ply('mount', '--name', 'mine', 'sample:1', mnt), 'mine');
  t.match(mountAt(mnt), { type: 'fuse.plyfs' });
  const shown = [
    ...[
      'bin d 755 0:0',
      'bin/locate f 2755 0:7',
      'bin/su f 4755 0:0',
      'dev d 755 0:0',
      'dev/null c 666 0:0',
      'dev/sda b 660 0:6',
    ],
    ...[
      'etc d 755 0:0',
      'etc/shadow f 640 0:42',
      'home d 755 0:0',
      'home/app d 750 1000:1000',
      'root d 700 0:0',
      'root/notes f 600 0:0',
    ],
    ...['run d 1777 0:0', 'run/pipe p 600 33:0', '1:3', '8:0'],
  ];
  t.same((await shell(list)).trim().split('\n'), shown);
  t.equal(
    await shell('cat home/app/link root/notes'),
    'secret\nx',
    'what others may not read, too',
  );

  await shell(
    'echo more >>etc/shadow; rm bin/locate dev/sda; chmod 4711 bin/su; mkdir new; echo x >new/file; mv root/notes new/notes; ln etc/shadow new/shadow',
  );
  await ply('umount', 'mine');
  t.equal(mountAt(mnt), undefined);
  t.equal(await ply('mount', 'mine', mnt), 'mine');
  const changed = (await shell(list)).split('\n');
  for (const line of [
    'bin/su f 4711 0:0',
    'etc/shadow f 640 0:42',
    'new/notes f 600 0:0',
    'new/shadow f 640 0:42',
    `new/file f 644 ${NOBODY}:${NOBODY}`,
  ])
    t.ok(changed.includes(line), line);
  t.notOk(
    changed.some((line) => /^(bin\/locate|dev\/sda|root\/notes|old) /.test(line)),
    'what was deleted stays deleted',
  );
  t.equal(await shell('cat new/shadow'), 'secret\nmore\n');
  t.match(await run([...words, 'rm', 'mine'], { env }), { status: 1, stderr: /unmount it first/ });
  await ply('umount', mnt);

  await ply('save', '-o', `${home}/tmp/saved.tar`, 'sample:1');
  await ply('mount', '--ro', 'sample:1', mnt);
  t.same((await shell(list)).trim().split('\n'), shown, 'the image is what it was');
  t.match(await run([...asNobody, 'touch', `${mnt}/x`]), { status: 1, stderr: /Read-only/ });
  await ply('umount', mnt);
  t.match(await run([...words, 'rmi', 'sample:1'], { env }), { status: 1, stderr: /mine/ });
  t.equal(await ply('rm', 'mine'), 'mine');
  t.match(await ply('rmi', 'sample:1'), /^Untagged: sample:1\n(Deleted: sha256:\w{64}\n?)+$/);
  t.same(JSON.parse(await ply('fsck', '--deep', '--json')), { repaired: [], left: [] });
  t.equal(await ply('images', '-q'), '');
  t.equal(
    await ply('load', '-q', '-i', `${home}/tmp/saved.tar`),
    'Loaded image: sample:1',
    'what was saved is the image',
  );
  t.same(daemonsOf(mnt), []);
  await succeed([...asNobody, 'rm', '-rf', `${home}/data`]);
  t.notOk(existsSync(`${home}/data`), 'all of it is the own of who made it');
});
