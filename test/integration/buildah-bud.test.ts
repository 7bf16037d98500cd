/**
 * One Containerfile built by buildah over plyfs, over fuse-overlayfs and over the kernel's overlay,
 * as root and as an ordinary user: every file of the three images is the same, but for what the
 * others are known to do otherwise.
 */
import t, { type Test } from 'tap';
import { chmod, link, symlink, writeFile } from 'node:fs/promises';
import { succeed } from '../support/command.js';
import { plyOn } from '../support/ply.js';
import { containerClient, privateHost, type ContainerClient } from '../support/private-host.js';
import { NOBODY, isRoot } from '../support/users.js';
import { differences, type Tree } from '../suites/tree.js';
import { workspace } from '../suites/workspace.js';
import { baseLayer } from './client-image.js';

t.setTimeout(300_000);

const containerfile = `FROM localhost/base:1
RUN echo changed >>/etc/greeting && rm -r /data/deep && mkdir /data/deep && echo new >/data/deep/new
RUN mkdir -p /srv/a/b && chown 33:44 /srv/a && chmod 2770 /srv/a/b && echo x >/srv/a/b/file && ln /srv/a/b/file /srv/a/again && ln -s again /srv/a/link
COPY --chown=1000:1000 dir /copied/
COPY program /usr/bin/program
RUN cp /bin/busybox /bin/suid && chown 1000:7 /bin/suid && chmod 6755 /bin/suid && setcap cap_net_raw,cap_chown+ep /bin/powerful && mkfifo /fifo
RUN setfattr -n user.color -v green /etc/greeting && setfattr -n user.new -v x /srv/a/again && setfattr -x user.note /etc/passwd
RUN rm /bin/stat && rm -r /gone && mkdir /gone && mv /srv /moved && rm /moved/a/link && chmod 700 /moved/a && echo file >/srv
RUN chmod 1711 /etc && chown 5:6 /data && touch -d @1100000000 /etc/passwd && rm /data/two
ENV COLOR=green
`;

/** Prints every entry of the tree at $1, as four kinds of lines. */
const lister = `cd "$1"
find . -mindepth 1 -printf 'entry|%P|%y|%m|%U:%G|%i|%Ts|%l\\n'
find . -type f -exec sha256sum {} + | sed 's/^\\([0-9a-f]*\\)  ../content|\\1|/'
find . \\( -type c -o -type b \\) -exec stat -c 'device|%n|%t:%T' {} +
getfattr -R -P -h -d -m - -e hex .`;

/**
 * By path: type, mode, owner, target, content, device, xattrs, the path that names the same file
 * first, and the times that the layer or \`touch\` gave.
 */
function treeOfListing(listing: string): Tree {
  const tree = new Map<string, string>();
  const names = new Map<string, string>();
  const add = (path: string, text: string): void =>
    void tree.set(path, `${tree.get(path) ?? ''} ${text}`);
  let file = '';
  const lines = listing.split('\n');
  // By path, so that of the names of one file the same comes first in every tree. What getfattr
  // prints keeps its order.
  const entries = lines.filter((line) => line.startsWith('entry|')).sort();
  for (const line of [...entries, ...lines.filter((line) => !line.startsWith('entry|'))]) {
    const [kind, ...fields] = line.split('|') as [string, ...string[]];
    const [first = '', second = ''] = fields;
    if (kind === 'entry') {
      const [path = '', type = '', mode = '', owner = '', inode = '', time = '', target = ''] =
        fields;
      add(path, `${type} ${mode} ${owner}${target === '' ? '' : ` -> ${target}`}`);
      if (Number(time) <= 1_100_000_000) add(path, `of ${time}`);
      const same = names.get(inode);
      if (type !== 'd' && same !== undefined) add(path, `names ${same}`);
      names.set(inode, same ?? path);
    } else if (kind === 'content') add(second, first);
    else if (kind === 'device') add(first.replace(/^\.\//, ''), second);
    else if (line.startsWith('# file: ')) file = line.slice('# file: '.length);
    else if (line !== '') add(file, line);
  }
  return tree;
}

/** The image built by a client, as it shows it. */
async function built(client: ContainerClient, context: string, base: string): Promise<Tree> {
  await client.podman('import', '-q', base, 'localhost/base:1');
  await client.buildah(
    'bud',
    '-q',
    '--isolation',
    'chroot',
    '--layers',
    '-t',
    'localhost/built:1',
    context,
  );
  const look = `c=$(buildah from built:1)
list() {
${lister}
}
(list "$(buildah mount "$c")")
buildah umount "$c" >/dev/null`;
  return treeOfListing(await client.buildahScript(look));
}

/** Differences but for those of known paths. */
function unexplained(
  found: Tree,
  wanted: Tree,
  known: readonly { readonly path: RegExp }[],
): string[] {
  return differences(found, wanted).filter(
    (line) => !known.some(({ path }) => path.test(line.slice(2, line.indexOf(':')))),
  );
}

const failsOfFuseOverlayfs = [
  {
    path: /^data(\/|$)/,
    reason:
      'a copy-up loses the set-group-id bit of a directory, and what is made in it gets another group',
  },
  { path: /^bin\/powerful$/, reason: 'a copy-up loses set-id bits' },
  { path: /^usr$/, reason: 'a copy-up below a directory changes its time' },
  {
    path: /^etc\/greeting$/,
    reason: 'an xattr set on a file of a lower layer is not in the image',
  },
];

const kernelDifferences = [
  {
    path: /^moved\/a\/b\/file$/,
    reason: 'a copy-up through one name of a hard link separates it from the others',
  },
];

async function context(t: Test): Promise<{ context: string; base: string }> {
  const directory = await workspace(t, 'context/dir/sub');
  const at = (path: string): string => `${directory}/context/${path}`;
  await writeFile(at('Containerfile'), containerfile);
  await writeFile(at('dir/file'), 'copied\n');
  await link(at('dir/file'), at('dir/sub/again'));
  await symlink('../file', at('dir/sub/link'));
  await writeFile(at('program'), '#!/bin/sh\necho hello\n');
  await chmod(at('program'), 0o4755);
  return { context: `${directory}/context`, base: await baseLayer(`${directory}/base`) };
}

if (!isRoot)
  t.pass('needs root', { skip: 'the test makes a host of its own, and becomes another user' });
else {
  const files = await context(t);
  for (const [name, uid] of [
    ['root', 0],
    ['an ordinary user', NOBODY],
  ] as const) {
    await t.test(name, async (t) => {
      const host = await privateHost(t, await workspace(t), 'nobody:200000:65536\n');
      const over = async (
        client: string,
        overlay: Readonly<Record<string, string>>,
      ): Promise<[ContainerClient, Tree]> => {
        const made = await containerClient(host, client, { uid, overlay });
        return [made, await built(made, files.context, files.base)];
      };
      const [client, ours] = await over('plyfs', { mount_program: `${host.program}/bin/plyfs` });
      const shown = (path: string): string => ours.get(path) ?? 'nothing';
      t.match(shown('bin/suid'), /^ f 6755 1000:7 /);
      t.match(shown('bin/powerful'), /^ f 4755 0:0 of 1000000000 .* security\.capability=/);
      t.match(shown('etc/greeting'), /user\.color=0x677265656e/);
      t.equal(shown('moved/a').slice(0, 14), ' d 700 33:44');
      t.match(
        shown('moved/a/again') + shown('moved/a/b/file'),
        /names moved\/a\//,
        'hard links stay',
      );
      t.match(shown('copied/sub/again') + shown('copied/file'), /names copied\//);
      t.match(shown('etc/passwd'), / of 1100000000 /);
      t.notMatch(shown('etc/passwd'), /user\.note/);
      for (const path of [
        'bin/stat',
        'gone/file',
        'data/deep/file',
        'data/two',
        'moved/a/link',
        'srv/a',
      ])
        t.equal(shown(path), 'nothing', path);
      t.same(
        unexplained(
          ours,
          (await over('fuse', { mount_program: '/usr/bin/fuse-overlayfs' }))[1],
          failsOfFuseOverlayfs,
        ),
        [],
        'as over fuse-overlayfs',
      );
      t.same(
        unexplained(ours, (await over('kernel', {}))[1], kernelDifferences),
        [],
        'as over the kernel’s overlay',
      );

      // An image that was built by it, in the hands of ply.
      const saved = `${host.base}/plyfs/tmp/built.tar`;
      await client.podman('save', '-q', '-o', saved, 'localhost/built:1');
      const base = await workspace(t, 'mnt');
      const ply = plyOn(`${base}/root`);
      await ply('load', '-q', '-i', saved);
      await ply('mount', '--ro', 'localhost/built:1', `${base}/mnt`);
      const loaded = treeOfListing(await succeed(['sh', '-eu', '-c', lister, 'sh', `${base}/mnt`]));
      // A user's podman makes no devices, but keeps them in the archive.
      t.same(
        unexplained(loaded, ours, uid === 0 ? [] : [{ path: /^dev\/zero$/ }]),
        [],
        'and as ply shows it',
      );
      await ply('umount', `${base}/mnt`);
    });
  }
}
