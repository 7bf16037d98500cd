/**
 * podman and buildah with plyfs as their mount program: as root, as an ordinary user with
 * subordinate ids, and as one without. An image that ply saved is loaded, mounted, run, changed in
 * containers, committed, built upon, and what they save is loaded by ply.
 */
import t, { type Test } from 'tap';
import { readFileSync } from 'node:fs';
import { chown, readFile, symlink, writeFile } from 'node:fs/promises';
import { archiveOf, docker20, imageOfTars } from '../image/fixture.js';
import { succeed } from '../support/command.js';
import { tarOf } from '../support/layer-tar.js';
import { plyOn } from '../support/ply.js';
import {
  containerClient,
  privateHost,
  type ContainerClient,
  type PrivateHost,
} from '../support/private-host.js';
import { NOBODY, isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';
import { baseLayer } from './client-image.js';

t.setTimeout(300_000);

/** Limits above those of this process take a privilege that root does not have everywhere. */
const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];
const runWords = ['--rm', '--network', 'host', '--cgroups=disabled', ...limits];

interface Who {
  readonly uid: number;
  /** The owners shown of /data and /etc. */
  readonly owners: readonly [string, string];
  /** Reason why not. */
  readonly chroot?: string;
}

/** The image `sample:1`, as `ply save` writes it. */
async function savedImage(t: Test): Promise<{ id: string; path: string }> {
  const base = await workspace(t);
  const layer = await baseLayer(`${base}/layer`);
  const above = await tarOf([
    { name: '.wh.gone' },
    { name: 'data/', type: 'directory', mode: 0o2775, uid: 1000, gid: 1000 },
    { name: 'data/deep/', type: 'directory', mode: 0o755 },
    { name: 'data/deep/.wh..wh..opq' },
    { name: 'data/deep/new', content: 'new\n' },
  ]);
  const image = imageOfTars([readFileSync(layer), above]);
  await writeFile(
    `${base}/image.tar`,
    await archiveOf(docker20([{ image, tags: ['localhost/sample:1'] }])),
  );
  const ply = plyOn(`${base}/root`);
  await ply('load', '-q', '-i', `${base}/image.tar`);
  const path = `${base}/saved.tar`;
  await ply('save', '-o', path, 'localhost/sample:1');
  await succeed(['chmod', '644', path]);
  return { id: image.id, path };
}

const listed =
  "find . -mindepth 1 -path ./bin -prune -o -path './lib*' -prune -o -path './usr*' -prune -o -printf '%P %y %m %U:%G\\n' | sort";

async function images(
  t: Test,
  client: ContainerClient,
  saved: { id: string; path: string },
  who: Who,
): Promise<void> {
  await client.podman('load', '-q', '-i', saved.path);
  t.equal(
    await client.podman('image', 'inspect', '--format', '{{.Id}}', 'sample:1'),
    saved.id.replace('sha256:', ''),
    'the id stays',
  );
  // A user's podman lets nobody see a mount but what runs in its namespaces.
  const seen = await client.script(
    `cd "$(podman image mount sample:1)"; grep " $PWD " /proc/mounts; stat -c %a bin/powerful; cat etc/greeting; ls; ${listed}`,
  );
  const [mount, mode, greeting, ...names] = seen.split('\n');
  t.match(mount, /^plyfs \S+ fuse\.plyfs ro,/);
  t.equal(mode, '4755', 'set-id bits are kept');
  t.equal(greeting, 'hello');
  const [data, etc] = who.owners;
  t.match(names, ['bin', 'data', 'dev', 'etc']);
  t.notOk(names.includes('gone'), 'what a layer deletes is deleted');
  for (const line of [
    `data d 2775 ${data}`,
    'data/deep/new f 644 0:0',
    `data/one f 644 ${data}`,
    `etc/passwd f 644 ${etc}`,
  ])
    t.ok(names.includes(line), line);
  t.notOk(
    names.some((line) => line.startsWith('data/deep/file') || line.includes('.wh.')),
    'an opaque directory hides what was there before',
  );
  await client.podman('image', 'umount', 'sample:1');
}

async function containers(t: Test, client: ContainerClient): Promise<void> {
  const container = await client.podman('create', ...limits, 'sample:1', 'sh');
  const change = `cd "$(podman mount "$1")"
grep " $PWD " /proc/mounts
echo hello again >>etc/greeting
rm -r data/deep && mkdir data/deep && echo newer >data/deep/newer
ln data/one data/three
chmod 2700 data`;
  t.match(
    await client.script(change, container),
    /^plyfs \S+ fuse\.plyfs rw,/,
    'the container is on our file system',
  );
  const changes = (await client.podman('diff', container)).split('\n');
  for (const line of [
    'C /etc/greeting',
    'C /data',
    'A /data/deep/newer',
    'D /data/deep/new',
    'A /data/three',
  ])
    t.ok(changes.includes(line), line);
  t.notOk(
    changes.some((line) => line.includes('.wh.') || line.includes('/bin')),
    'and no more than that',
  );
  await client.podman('export', '-o', `${client.directory}/tmp/export.tar`, container);
  const exported = (await succeed(['tar', '-tf', `${client.directory}/tmp/export.tar`])).split(
    '\n',
  );
  for (const name of ['data/deep/newer', 'data/three', 'etc/greeting'])
    t.ok(exported.includes(name), `${name} is exported`);
  t.notOk(exported.some((name) => name.startsWith('gone') || name === 'data/deep/new'));
  await client.podman('cp', `${container}:/etc/greeting`, `${client.directory}/tmp/greeting`);
  t.equal(await readFile(`${client.directory}/tmp/greeting`, 'utf8'), 'hello\nhello again\n');
  await client.podman('umount', container);
  await client.podman('commit', '-q', container, 'localhost/sample:2');
  await client.podman('rm', container);
  const listed = await client.podman(
    'run',
    ...runWords,
    'sample:2',
    'sh',
    '-c',
    'cat /etc/greeting; ls /data/deep; stat -c %a /data; cat /data/three',
  );
  t.equal(
    listed,
    'hello\nhello again\nnewer\n2700\none file',
    'the committed image is the container',
  );
}

async function running(t: Test, client: ContainerClient): Promise<void> {
  const { directory, podman, outcome } = client;
  t.match(await outcome('podman', 'run', ...runWords, 'sample:1', 'sh', '-c', 'echo out; exit 7'), {
    status: 7,
    stdout: 'out\n',
  });
  await podman(
    'run',
    ...limits,
    '--network',
    'none',
    '--cgroups=disabled',
    '--name',
    'changed',
    'sample:1',
    'sh',
    '-c',
    'echo x >/new; rm /etc/passwd; mv /data /moved',
  );
  const changes = (await podman('diff', 'changed')).split('\n');
  for (const line of ['A /new', 'D /etc/passwd', 'D /data', 'A /moved', 'A /moved/deep/new'])
    t.ok(changes.includes(line), line);
  await podman('rm', 'changed');
  await writeFile(`${directory}/tmp/outside`, 'outside\n');
  await chown(`${directory}/tmp/outside`, client.uid, client.uid);
  const volume = `${directory}/tmp:/mnt:O`;
  const said = await podman(
    'run',
    ...runWords,
    '-v',
    volume,
    'sample:1',
    'sh',
    '-c',
    'echo changed >>/mnt/outside; cat /mnt/outside; touch /mnt/new',
  );
  t.equal(said, 'outside\nchanged', 'a volume that is an overlay');
  t.equal(
    await readFile(`${directory}/tmp/outside`, 'utf8'),
    'outside\n',
    'and leaves what lies below alone',
  );
  const all = await Promise.all(
    [1, 2, 3].map((n) =>
      podman(
        'run',
        ...runWords,
        'sample:1',
        'sh',
        '-c',
        `echo ${n} >/etc/greeting; cat /etc/greeting`,
      ),
    ),
  );
  t.same(all, ['1', '2', '3'], 'several at once on one image');
}

async function building(t: Test, client: ContainerClient, who: Who): Promise<void> {
  const { buildah, podman, directory } = client;
  const container = await buildah('from', '--name', 'working', 'sample:1');
  await writeFile(`${directory}/tmp/copied`, 'copied\n');
  await buildah(
    'copy',
    '-q',
    '--chown',
    '0:0',
    container,
    `${directory}/tmp/copied`,
    '/etc/copied',
  );
  await buildah('config', '--env', 'COLOR=green', '--cmd', '/bin/sh', container);
  const script = 'rm -r /data/deep && echo "$COLOR" >/etc/color && mv /data/one /moved';
  if (who.chroot === undefined)
    await buildah('run', '--isolation', 'chroot', container, '--', '/bin/sh', '-c', script);
  else {
    t.comment(`buildah run: ${who.chroot}`);
    await client.buildahScript(
      'cd "$(buildah mount working)" && rm -r data/deep && echo green >etc/color && mv data/one moved; cd /; buildah umount working',
    );
  }
  await buildah('commit', '-q', container, 'localhost/built:1');
  const look = await client.buildahScript(
    `c=$(buildah from built:1); cd "$(buildah mount "$c")"; cat etc/copied etc/color; ls data; cat moved; buildah rm "$c" >/dev/null`,
  );
  t.equal(look, 'copied\ngreen\npipe\ntwo\none file');
  await podman('save', '-q', '-o', `${directory}/tmp/built.tar`, 'built:1');
  const base = await workspace(t, 'mnt');
  const ply = plyOn(`${base}/root`);
  t.match(
    await ply('load', '-i', `${directory}/tmp/built.tar`),
    /Loaded image: localhost\/built:1/,
  );
  await ply('mount', '--ro', 'localhost/built:1', `${base}/mnt`);
  t.equal(await readFile(`${base}/mnt/etc/color`, 'utf8'), 'green\n', 'ply loads what they save');
  t.equal(await succeed(['ls', `${base}/mnt/data`]), 'pipe\ntwo\n');
  await ply('umount', `${base}/mnt`);
  await buildah('rm', '-a');
}

async function leftNothing(t: Test, client: ContainerClient, host: PrivateHost): Promise<void> {
  await client.podman('rm', '-af');
  await client.podman('rmi', '-af');
  t.equal(
    await client.script('grep " $1/.* fuse[.]" /proc/mounts || :', client.directory),
    '',
    'nothing is left mounted',
  );
  const { stdout } = await host.run(0, {}, ['ps', '-e', '-o', 'stat=,comm=']);
  t.same(
    stdout.split('\n').filter((line) => /plyfs/.test(line) && !line.startsWith('Z')),
    [],
    'nor any daemon running',
  );
}

interface Case extends Who {
  readonly name: string;
  readonly subordinateIds: string;
  readonly overlay?: Readonly<Record<string, string>>;
  readonly more?: (t: Test, client: ContainerClient) => Promise<void>;
}

const cases: readonly Case[] = [
  { name: 'root', uid: 0, owners: ['1000:1000', '0:0'], subordinateIds: '' },
  {
    name: 'an ordinary user',
    uid: NOBODY,
    owners: ['1000:1000', '0:0'],
    subordinateIds: 'nobody:200000:65536\n',
    more: async (t, { podman }) => {
      const mapped = async (...words: string[]): Promise<string> =>
        podman(
          'run',
          ...runWords,
          ...words,
          'sample:1',
          'sh',
          '-c',
          'touch /tmp/new && chown 7 /tmp/new; stat -c "%n %u:%g" /data /etc /tmp/new; id -u',
        );
      t.equal(
        await mapped('--uidmap', '0:1:2000', '--gidmap', '0:1:2000', '--user', '0'),
        '/data 1000:1000\n/etc 0:0\n/tmp/new 7:0\n0',
        'ids of its own',
      );
      t.equal(
        await mapped('--userns=keep-id', '--user', '0'),
        '/data 1000:1000\n/etc 0:0\n/tmp/new 7:0\n0',
        'the id of the user',
      );
    },
  },
  {
    name: 'an ordinary user without subordinate ids',
    uid: NOBODY,
    owners: ['0:0', '0:0'],
    subordinateIds: '',
    overlay: { ignore_chown_errors: 'true' },
    chroot: 'it sets supplementary groups, which takes more than one id',
  },
];

if (!isRoot)
  t.pass('needs root', { skip: 'the test makes a host of its own, and becomes another user' });
else {
  const saved = await savedImage(t);
  for (const { name, subordinateIds, overlay = {}, more, ...who } of cases) {
    await t.test(name, async (t) => {
      const host = await privateHost(t, await workspace(t), subordinateIds);
      const client = await containerClient(host, 'client', {
        uid: who.uid,
        overlay: { mount_program: `${host.program}/bin/plyfs`, ...overlay },
      });
      await t.test('images: load, mount', (t) => images(t, client, saved, who));
      await t.test('podman: create, mount, diff, export, commit', (t) => containers(t, client));
      // Without subordinate ids it would be the same again.
      if (who.chroot === undefined) await t.test('podman run', (t) => running(t, client));
      await t.test('buildah: from, copy, config, run, commit', (t) => building(t, client, who));
      if (more !== undefined) await t.test('ids that are mapped', (t) => more(t, client));
      await t.test('nothing is left', (t) => leftNothing(t, client, host));
    });
  }

  await t.test('owners kept in xattrs (force_mask)', async (t) => {
    const host = await privateHost(t, await workspace(t), 'nobody:200000:65536\n');
    const overlay = { mount_program: `${host.program}/bin/plyfs`, force_mask: 'shared' };
    const client = await containerClient(host, 'client', { uid: NOBODY, overlay });
    // containers/storage cannot describe a FIFO.
    const tar = await baseLayer(`${host.base}/layer`, { devices: false });
    await client.podman('import', '-q', tar, 'localhost/plain:1');
    const script =
      'echo x >/etc/new; chown 5:6 /etc/new; chmod 640 /etc/new; stat -c "%n %a %u:%g" /etc/new /data /data/one';
    t.equal(
      await client.podman('run', ...runWords, 'plain:1', 'sh', '-c', script),
      '/etc/new 640 5:6\n/data 775 1000:1000\n/data/one 644 1000:1000',
    );
  });

  await t.test('under the name fuse-overlayfs', async (t) => {
    const host = await privateHost(t, await workspace(t, 'bin'), '');
    const link = `${host.base}/bin/fuse-overlayfs`;
    await symlink(`${host.program}/bin/plyfs`, link);
    const client = await containerClient(host, 'client', {
      uid: 0,
      overlay: { mount_program: link },
    });
    await client.podman('load', '-q', '-i', saved.path);
    const seen = await client.script(
      'cd "$(podman image mount sample:1)"; grep " $PWD " /proc/mounts; ls data/deep',
    );
    t.match(seen, /^fuse-overlayfs \S+ fuse\.fuse-overlayfs .*\nnew$/);
    await client.podman('image', 'umount', 'sample:1');
  });
}
