/**
 * A data root between ply and dockerd: each opens what the other wrote, and shows the same images,
 * trees and bytes.
 *
 * No network: images are made of a static busybox by import, commit, build and load.
 */
import t from 'tap';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import type { Test } from 'tap';
import { archiveOf, docker20, imageOf, imageOfTars } from '../image/fixture.js';
import { succeed } from '../support/command.js';
import { plyOn, type Ply } from '../support/ply.js';
import { Actor } from '../suites/actor.js';
import { sameTree, treeOf, type Tree } from '../suites/tree.js';
import { workspace } from '../suites/workspace.js';
import { startDockerd, type Engine } from '../support/private-dockerd.js';

type Docker = Engine['docker'];

const APP = 'example.com:5000/team/app:v1';
/**
 * A file that may bind low ports: VFS_CAP_REVISION_2 with the effective bit, CAP_NET_BIND_SERVICE
 * permitted (linux/capability.h).
 */
const CAPABILITY = '0x0100000200040000000000000000000000000000';
const IMAGES_FORMAT = '{{.ID}} {{.Repository}}:{{.Tag}} {{.Size}} {{.CreatedAt}}';
const HISTORY_FORMAT = '{{.ID}} | {{.CreatedAt}} | {{.CreatedBy}} | {{.Size}} | {{.Comment}}';
const INSPECT_FORMAT =
  '{{.Id}} {{.Parent}} {{.Size}} {{.Os}}/{{.Architecture}} {{.Author}} {{.Comment}} {{.RootFS.Layers}}';

/**
 * What the first container does: deletions, an opaque directory, hard links, a rename, modes,
 * devices.
 */
const FIRST = `
  rm /etc/gone /bin/bound && rm -r /data && mkdir /data && echo new > /data/new
  ln /etc/greeting /etc/also && echo again >> /etc/greeting && chmod 4711 /etc/greeting
  mkdir /tree && echo 1 > /tree/file && ln /tree/file /tree/linked && ln -s file /tree/soft && mv /tree /moved
  mknod /etc/fifo p && chown 12:34 /etc/fifo && touch -d @12345 /data/new`;
/** The second, on top: deletions of what the first made, a directory where a file was. */
const SECOND =
  'rm /etc/also && rm -r /moved && mkdir /etc/gone && echo 2 > /etc/gone/two && rm /data/new && mkdir /data/deep';

/** A root file system's tar with what layers can hold. */
async function rootTar(base: string): Promise<string> {
  const tree = `${base}/tree`;
  for (const path of ['bin', 'etc', 'data/deep', 'tmp'])
    await mkdir(`${tree}/${path}`, { recursive: true });
  await succeed(['cp', '/bin/busybox', `${tree}/bin/busybox`]);
  for (const name of [
    'sh',
    'cat',
    'rm',
    'mv',
    'ln',
    'mkdir',
    'chmod',
    'chown',
    'mknod',
    'touch',
    'ls',
  ]) {
    await symlink('busybox', `${tree}/bin/${name}`);
  }
  for (const [path, text] of [
    ['etc/greeting', 'hello\n'],
    ['etc/gone', 'to be deleted\n'],
    ['data/deep/file', 'hidden later\n'],
  ] as const) {
    await writeFile(`${tree}/${path}`, text);
  }
  for (const name of ['bound', 'kept']) {
    await succeed(['cp', '/bin/busybox', `${tree}/bin/${name}`]);
    await succeed([
      'setfattr',
      '-n',
      'security.capability',
      '-v',
      CAPABILITY,
      `${tree}/bin/${name}`,
    ]);
  }
  await succeed(['ln', `${tree}/data/deep/file`, `${tree}/data/linked`]);
  await succeed(['chmod', '1777', `${tree}/tmp`]);
  const words = [
    '--xattrs',
    '--xattrs-include=security.capability',
    '--format=pax',
    '-C',
    tree,
    '.',
  ];
  await succeed(['tar', '-cf', `${base}/root.tar`, ...words]);
  return `${base}/root.tar`;
}

/** Images made in every way that needs no network. Returns their names. */
async function fill(docker: Docker, base: string): Promise<string[]> {
  await docker(
    'import',
    '-c',
    'CMD ["/bin/sh"]',
    '-m',
    'of busybox',
    await rootTar(base),
    'base:1',
  );
  await docker('run', '--name', 'one', '--network', 'none', 'base:1', 'sh', '-c', FIRST);
  await docker('commit', '-a', 'Somebody', '-m', 'with\ta tab', 'one', 'base:2');
  await docker('run', '--name', 'two', '--network', 'none', 'base:2', 'sh', '-c', SECOND);
  await docker('commit', '-c', 'ENV A=b', 'two', 'base:3');
  await docker('rm', 'one', 'two');
  await docker('tag', 'base:3', APP);
  await mkdir(`${base}/build`);
  await writeFile(
    `${base}/build/Dockerfile`,
    'FROM base:1\nENV LONG="a value that makes this line longer than docker shows"\nRUN rm /etc/gone\nLABEL k=v\n',
  );
  await succeed([
    'env',
    'DOCKER_BUILDKIT=0',
    '/usr/bin/docker',
    '-H',
    `unix://${base}/socket`,
    'build',
    '-q',
    '--network',
    'none',
    '-t',
    'built:1',
    `${base}/build`,
  ]);
  const loaded = imageOfTars(
    (
      await imageOf([
        { 'a/one': '1\n', 'b/two': '2\n' },
        { 'a/.wh.one': '', 'b/.wh..wh..opq': '', 'b/three': '3\n' },
      ])
    ).layers,
  );
  await writeFile(
    `${base}/loaded.tar`,
    await archiveOf(docker20([{ image: loaded, tags: ['loaded:1'] }])),
  );
  await docker('load', '-i', `${base}/loaded.tar`);
  return ['base:1', 'base:2', 'base:3', 'built:1', 'loaded:1'];
}

/** What docker and ply say of the images, in the same words. */
async function told(
  program: Docker | Ply,
  names: readonly string[],
): Promise<Record<string, unknown>> {
  const lines = async (...words: string[]): Promise<string[]> =>
    (await program(...words)).split('\n').sort();
  return {
    images: await lines('images', '--no-trunc', '--format', IMAGES_FORMAT),
    all: await lines('images', '-a', '--no-trunc', '--format', IMAGES_FORMAT),
    digests: await lines('images', '--digests', '--format', '{{json .Digest}} {{.ID}}'),
    short: await lines('images', '-q'),
    dangling: await lines('images', '-q', '-a', '--filter', 'dangling=true'),
    matching: await lines(
      'images',
      '--filter',
      'reference=base*',
      '--format',
      '{{.Repository}}:{{.Tag}}',
    ),
    labelled: await lines('images', '-q', '--filter', 'label=k=v'),
    histories: await Promise.all(
      names.map((name) => program('history', '--no-trunc', '--format', HISTORY_FORMAT, name)),
    ),
    shortHistories: await Promise.all(
      names.map((name) => program('history', '--format', HISTORY_FORMAT, name)),
    ),
    inspected: await Promise.all(
      names.map((name) => program('inspect', '--format', INSPECT_FORMAT, name)),
    ),
    configs: await Promise.all(
      names.map(
        async (name) =>
          JSON.parse(await program('inspect', '--format', '{{json .Config}}', name)) as unknown,
      ),
    ),
  };
}

/** The digest of every layer's tar in an archive that is unpacked at `directory`. */
async function layerDigests(directory: string, archive: string): Promise<string[]> {
  await mkdir(directory);
  await succeed(['tar', '-xf', archive, '-C', directory]);
  const found = await succeed(['sh', '-c', 'find . -type f -name layer.tar -exec sha256sum {} +'], {
    cwd: directory,
  });
  return [
    ...new Set(
      found
        .split('\n')
        .map((line) => line.split(' ')[0]!)
        .filter((digest) => digest !== ''),
    ),
  ].sort();
}

async function mounted<T>(
  program: Ply,
  image: string,
  directory: string,
  look: (actor: Actor) => Promise<T>,
): Promise<T> {
  await program('mount', '--ro', image, directory);
  const actor = await Actor.start();
  try {
    return await look(actor);
  } finally {
    await actor.end();
    await program('umount', directory);
  }
}

/**
 * Directories that no layer's tar mentions, or whose entry does not count (the root's): their times
 * are those of unpacking.
 */
const UNMENTIONED = ['.', 'a', 'b'];

/**
 * Every image as our union shows it and as the kernel's overlay does, which `kernel` mounts.
 * `unpackedTwice`: the two have directories of their own.
 */
async function sameTrees(
  t: Test,
  ours: Ply,
  kernel: Ply,
  images: readonly string[],
  directory: string,
  unpackedTwice: boolean,
): Promise<void> {
  const look = async (actor: Actor): Promise<Tree> => {
    const tree = await treeOf(actor, directory, { nlink: true });
    if (!unpackedTwice) return tree;
    return new Map(
      [...tree].map(([path, entry]) => [
        path,
        UNMENTIONED.includes(path) ? entry.replace(/ mtime \d+/, '') : entry,
      ]),
    );
  };
  for (const image of images) {
    const shown = await mounted(ours, image, directory, look);
    sameTree(t, shown, await mounted(kernel, image, directory, look), `the tree of ${image}`);
  }
}

t.setTimeout(600_000);
if (process.getuid?.() !== 0) t.pass('needs root', { skip: 'dockerd needs root' });
else {
  for (const storageDriver of ['overlay2', 'fuse-overlayfs']) {
    await t.test(`a root that dockerd filled with ${storageDriver}`, async (t) => {
      const base = await workspace(t, 'root', 'exec', 'mnt');
      const engine = await startDockerd(t, base, { storageDriver });
      const names = await fill(engine.docker, base);
      await engine.docker(
        'run',
        '--name',
        'kept',
        '--network',
        'none',
        '-e',
        'E=f',
        'base:1',
        'sh',
        '-c',
        FIRST,
      );
      const changed = (await engine.docker('diff', 'kept')).split('\n').sort();
      const wanted = await told(engine.docker, [...names, APP]);
      await engine.docker('save', '-o', `${base}/docker.tar`, ...names);
      const ply = plyOn(`${base}/root`);
      t.same(await told(ply, [...names, APP]), wanted, 'the same images while dockerd runs');
      await engine.stop();

      t.same(await told(ply, [...names, APP]), wanted, 'the same images');
      const refused = await ply.outcome('tag', 'base:1', 'other:1');
      t.match(
        refused,
        { status: 1, stderr: /^ply: [^\n]*--writable[^\n]*\n$/ },
        'it is not changed unasked',
      );
      t.same((await readdir(`${base}/root`)).includes('plyfs'), false, 'nothing is left in it');

      await t.test('layers, byte for byte', async (t) => {
        await ply('save', '-o', `${base}/ours.tar`, ...names);
        const digests = await layerDigests(`${base}/docker-save`, `${base}/docker.tar`);
        await mkdir(`${base}/our-save`);
        await succeed(['tar', '-xf', `${base}/ours.tar`, '-C', `${base}/our-save`]);
        t.ok(digests.length >= 6, 'there are several');
        for (const digest of digests) {
          const [found = ''] = (
            await succeed(['sha256sum', `${base}/our-save/blobs/sha256/${digest}`])
          ).split(' ');
          t.equal(found, digest);
        }
      });

      await t.test('trees, as the kernel shows them', async (t) => {
        if (storageDriver === 'overlay2')
          return sameTrees(
            t,
            ply,
            plyOn(`${base}/root`, '--mounter', 'kernel'),
            names,
            `${base}/mnt`,
            false,
          );
        // The kernel does not know this driver's markers: it is shown the same layers in its own
        // form.
        const other = plyOn(`${base}/overlay2`, '--mounter', 'kernel');
        await other('load', '-q', '-i', `${base}/docker.tar`);
        return sameTrees(t, ply, other, names, `${base}/mnt`, true);
      });

      await t.test('a container of dockerd', async (t) => {
        t.match(
          await ply('ps', '--format', '{{.Image}} {{.Names}} {{.State}}'),
          /^base:1 kept idle$/m,
        );
        t.same((await ply('diff', 'kept')).split('\n').sort(), changed, 'the same changes');
        const writing = plyOn(`${base}/root`, '--writable');
        t.match(await writing.outcome('rm', '-f', 'kept'), { status: 1, stderr: /docker/ });
        t.match(await writing.outcome('rename', 'kept', 'other'), { status: 1, stderr: /docker/ });
        await writing('commit', '-q', '-c', 'WORKDIR /moved', 'kept', 'committed:1');
        t.match(JSON.parse(await ply('inspect', '--format', '{{json .Config}}', 'committed:1')), {
          WorkingDir: '/moved',
          Cmd: ['sh', '-c', FIRST],
        });
      });

      await t.test('changed when asked to', async (t) => {
        const writing = plyOn(`${base}/root`, '--writable');
        const name = await writing('mount', 'base:3', `${base}/mnt`);
        await writeFile(`${base}/mnt/etc/written`, 'by ply\n');
        await writing('umount', name);
        await writing('tag', 'base:3', 'ours:1');
        t.match(await writing.outcome('fsck', '--deep', '-q'), { status: 0, stdout: '' });
        await writing('rm', name);
        const again = await startDockerd(t, base, { storageDriver });
        t.equal(
          await again.docker('run', '--rm', '--network', 'none', 'ours:1', 'cat', '/etc/gone/two'),
          '2',
        );
        const look = ['sh', '-c', 'ls; cat /data/* /etc/also; ls /data /etc; echo $E'];
        const seen = await again.docker('run', '--rm', '--network', 'none', 'committed:1', ...look);
        await again.docker('commit', '-c', 'WORKDIR /moved', 'kept', 'committed:2');
        t.equal(
          await again.docker('run', '--rm', '--network', 'none', 'committed:2', ...look),
          seen,
          'as dockerd commits it',
        );
        const config = (name: string): Promise<string> =>
          again.docker(
            'inspect',
            '--format',
            '{{json .Config.Cmd}} {{json .Config.Env}} {{json .Config.Entrypoint}} {{.Config.WorkingDir}}',
            name,
          );
        t.equal(await config('committed:1'), await config('committed:2'));
        await again.stop();
      });
    });
  }

  await t.test('a root that ply filled', async (t) => {
    const first = await workspace(t, 'root', 'exec');
    const source = await startDockerd(t, first, { storageDriver: 'overlay2' });
    const names = await fill(source.docker, first);
    await source.docker('save', '-o', `${first}/docker.tar`, ...names, APP);
    await source.stop();

    const base = await workspace(t, 'exec', 'mnt');
    const ply = plyOn(`${base}/root`);
    await ply('load', '-q', '-i', `${first}/docker.tar`);
    await ply(
      'import',
      '-q',
      '-c',
      'CMD ["/bin/cat", "/etc/greeting"]',
      `${first}/root.tar`,
      'imported:1',
    );
    const kept = await ply('mount', '--name', 'kept', 'base:2', `${base}/mnt`);
    await writeFile(`${base}/mnt/etc/greeting`, 'changed\n');
    await ply('umount', kept);
    await ply('create', '--name', 'made', 'base:3');
    await ply('mount', 'made', `${base}/mnt`);
    await writeFile(`${base}/mnt/etc/greeting`, 'of a container\n');
    await ply('commit', '-q', '-m', 'committed', 'made', 'made:1');
    await ply('umount', 'made');
    const mine = [...names, APP, 'imported:1', 'made:1'];
    const shown = await told(ply, mine);

    const engine = await startDockerd(t, base, { storageDriver: 'overlay2' });
    t.same(await told(engine.docker, mine), shown, 'dockerd has the same images');
    const docker = (...words: string[]): Promise<string> =>
      engine.docker('run', '--rm', '--network', 'none', ...words);
    t.equal(await docker('imported:1'), 'hello');
    t.equal(await docker('made:1', 'cat', '/etc/greeting', '/etc/gone/two'), 'of a container\n2');
    t.equal(await docker('base:2', 'cat', '/etc/also'), 'hello\nagain');
    t.equal(await docker(APP, 'sh', '-c', 'ls /data; cat /etc/gone/two; echo $A'), 'deep\n2\nb');
    await engine.docker('save', '-o', `${base}/again.tar`, ...mine);
    await engine.stop();

    const digests = await layerDigests(`${base}/before`, `${first}/docker.tar`);
    const after = await layerDigests(`${base}/after`, `${base}/again.tar`);
    for (const digest of digests) t.ok(after.includes(digest), `layer ${digest} is as it was`);
    const verifying = plyOn(`${base}/verified`);
    await verifying('load', '-q', '-i', `${base}/again.tar`);
    t.same(
      new Set((await verifying('images', '-q', '--no-trunc')).split('\n')),
      new Set((await ply('images', '-q', '--no-trunc')).split('\n')),
    );
    await ply('mount', 'kept', `${base}/mnt`);
    t.equal(
      await readFile(`${base}/mnt/etc/greeting`, 'utf8'),
      'changed\n',
      "dockerd left ply's own mount alone",
    );
    await ply('umount', 'kept');
    t.match(await ply.outcome('fsck', '--deep', '-q'), { status: 0 });
  });

  await t.test('125 layers load and mount, 126 are refused', async (t) => {
    const base = await workspace(t, 'mnt');
    const ply = plyOn(`${base}/root`);
    const layers = Array.from({ length: 126 }, (_, i) => ({
      [`layer-${i}`]: `${i}\n`,
      top: `${i}\n`,
      ...(i % 2 === 1 && { [`.wh.layer-${i - 1}`]: '' }),
    }));
    for (const count of [125, 126]) {
      const image = await imageOf(layers.slice(0, count));
      await writeFile(
        `${base}/${count}.tar`,
        await archiveOf(docker20([{ image, tags: [`deep:${count}`] }])),
      );
    }
    await ply('load', '-q', '-i', `${base}/125.tar`);
    for (const mounter of ['fuse', 'kernel']) {
      await plyOn(`${base}/root`, '--mounter', mounter)('mount', '--ro', 'deep:125', `${base}/mnt`);
      t.equal(await succeed(['cat', `${base}/mnt/top`]), '124\n', mounter);
      t.equal(
        (await succeed(['ls', `${base}/mnt`])).split('\n').length - 1,
        1 + 63,
        'each second layer hides a file of the one below it',
      );
      await ply('umount', `${base}/mnt`);
    }
    t.match(await ply.outcome('load', '-q', '-i', `${base}/126.tar`), {
      status: 1,
      stderr: /max depth exceeded/,
    });
    t.equal(await ply('images', '-q', '--filter', 'reference=deep:126'), '');
  });
}
