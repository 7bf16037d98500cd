/**
 * A Debian root file system in four lower layers and an upper, used as a root: packages installed
 * in a chroot, a program compiled and run, a repository cloned; then the upper mounted by the
 * program and by the kernel, and both show the same tree.
 */
import t from 'tap';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { run, succeed } from '../support/command.js';
import { Actor } from '../suites/actor.js';
import { figure, givesBack, WatchedPlyfs } from '../suites/load/watched.js';
import {
  fuseOverlayfs,
  kernel,
  overlayPrefix,
  plyfs,
  unavailable,
  Union,
  unmount,
  type Mounter,
} from '../suites/mounters.js';
import { sameTree, treeOf } from '../suites/tree.js';
import { workspace } from '../suites/workspace.js';
import { hostSources, lendHost } from './debian-host.js';

const layers = 4;

/** Makes the root file system; `split` copies it into layers. */
async function bootstrap(base: string): Promise<string> {
  const rootfs = `${base}/rootfs`;
  const sources = await hostSources();
  await succeed([
    'mmdebstrap',
    '--quiet',
    '--mode=root',
    '--variant=apt',
    '--include=gcc,libc6-dev,git,ca-certificates',
    '--aptopt=Acquire::Languages "none"',
    ...sources.options.map((option) => `--aptopt=${option}`),
    sources.suite,
    rootfs,
    sources.list,
  ]);
  return rootfs;
}

/**
 * Splits `rootfs` over four layers, the last the lowest: /usr below, what else there is above it,
 * then a layer that deletes and replaces parts of both, then one that brings back some of it.
 */
async function split(rootfs: string, union: Union): Promise<void> {
  const [top = '', second = '', third = '', bottom = ''] = union.lowers;
  await mkdir(`${bottom}/usr`);
  // Symlinked directories (/bin, /lib) and /usr itself make the lowest layer.
  await succeed(['cp', '-a', '--reflink=auto', `${rootfs}/usr`, `${bottom}/`]);
  await succeed([
    'sh',
    '-c',
    `cd '${rootfs}' && for x in bin sbin lib lib32 lib64 libx32; do if [ -e $x ]; then cp -a $x '${bottom}'/; fi; done`,
  ]);
  await succeed([
    'sh',
    '-c',
    `cd '${rootfs}' && for x in *; do case $x in usr|bin|sbin|lib*) ;; *) cp -a "$x" '${third}'/;; esac; done`,
  ]);

  const actor = await Actor.start({ cwd: union.base });
  // Junk below that the second layer deletes and replaces: the result is the root file system
  // again.
  await mkdir(`${bottom}/usr/share/junk/deep/deeper`, { recursive: true });
  await writeFile(`${bottom}/usr/share/junk/deep/deeper/file`, 'to be deleted');
  await mkdir(`${third}/opt/old/sub`, { recursive: true });
  await writeFile(`${third}/opt/old/sub/hidden`, 'hidden by an opaque directory');
  await writeFile(`${third}/etc/replaced`, 'a file that becomes a directory');
  await mkdir(`${second}/usr/share`, { recursive: true });
  await mkdir(`${second}/opt/old`, { recursive: true });
  await mkdir(`${second}/etc/replaced`, { recursive: true });
  await actor.mknod(`${second}/usr/share/junk`, 0o020000, 0, 0);
  await actor.setxattr(`${second}/opt/old`, `${overlayPrefix}opaque`, 'y');
  await writeFile(`${second}/opt/old/shown`, 'shown');
  await writeFile(`${second}/etc/replaced/inside`, 'inside');
  // /etc/passwd moves up by two layers; one document directory is hidden and brought back above.
  await actor.mknod(`${second}/etc/passwd`, 0o020000, 0, 0);
  await mkdir(`${top}/etc`);
  await succeed(['cp', '-a', `${third}/etc/passwd`, `${top}/etc/passwd`]);
  for (const [layer, above] of [
    [third, second],
    [third, top],
  ] as const) {
    await succeed(['touch', '-r', `${layer}/etc`, `${above}/etc`]);
  }
  await succeed(['touch', '-r', `${bottom}/usr/share`, `${second}/usr/share`]);
  await actor.end();
}

const program = `#include <stdio.h>
#include <sys/stat.h>
int main(void) {
  struct stat s;
  if (stat("/etc/replaced/inside", &s)) return 1;
  printf("compiled, %ld bytes\\n", (long)s.st_size);
  return 0;
}
`;

async function usedAsRoot(target: Mounter, rootfs: string): Promise<void> {
  const skip = (await unavailable(t, target)) ?? false;
  await t.test(target.name, { skip }, async (t) => {
    const mounter = target === plyfs ? new WatchedPlyfs(t) : target;
    const union = await Union.create(t, mounter, layers);
    await split(rootfs, union);
    await union.mount();
    const mnt = union.mnt;

    await t.test('the layers are merged', async (t) => {
      const actor = await Actor.start({ cwd: mnt });
      t.same(await actor.names('opt/old'), ['shown']);
      t.same(await actor.names('etc/replaced'), ['inside']);
      t.notOk((await actor.names('usr/share')).includes('junk'));
      await actor.end();
    });

    await givesBack(t, mounter, async () => {
      const lent = await lendHost(mnt);
      const inside = (...argv: string[]) =>
        succeed(['chroot', mnt, ...argv], {
          env: {
            PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
            HOME: '/root',
            LC_ALL: 'C',
            DEBIAN_FRONTEND: 'noninteractive',
            ...lent.environment,
          },
        });
      try {
        await t.test('apt-get installs a package with dependencies, dpkg verifies', async (t) => {
          await inside('apt-get', '-qq', 'update');
          await inside(
            'apt-get',
            '-qq',
            '-y',
            '--no-install-recommends',
            'install',
            'sqlite3',
            'tree',
            'python3',
          );
          t.match(
            await inside(
              'dpkg-query',
              '-W',
              '-f',
              '${Status}\n',
              'sqlite3',
              'libsqlite3-0',
              'tree',
            ),
            /^(install ok installed\n){3}$/,
          );
          t.match(await inside('sqlite3', ':memory:', 'select 6 * 7'), /^42/);
          t.equal(await verified(mnt), '', 'dpkg --verify');
          const installed = (await inside('dpkg-query', '-W', '-f', '${Package}\n'))
            .trim()
            .split('\n').length;
          figure(t, mounter, `${installed} packages verified by dpkg in a chroot`);
          await inside('apt-get', '-qq', '-y', 'remove', 'tree');
          await t.rejects(access(`${mnt}/usr/bin/tree`));
        });

        await t.test('a C program is compiled and run, python3 too', async (t) => {
          await writeFile(`${mnt}/root/program.c`, program);
          await inside('gcc', '-O1', '-o', '/root/program', '/root/program.c');
          t.equal(await inside('/root/program'), 'compiled, 6 bytes\n');
          t.match(
            await inside(
              'python3',
              '-c',
              'import json, sys; print(json.dumps(sys.version_info[:1]))',
            ),
            '[3]',
          );
        });

        await t.test('git clones a local repository and finds it whole', async (t) => {
          const script = `set -e
            cd /root
            git init -q origin
            cd origin
            git config user.name tester
            git config user.email tester@example.org
            for i in $(seq 1 30); do cp /root/program.c file$i.c; echo "// $i" >>file$i.c; git add .; git commit -qm "commit $i"; done
            cp -r /usr/share/perl5 . && git add . && git commit -qm many
            cd ..
            git clone -q origin clone
            cd clone
            git fsck --full --strict
            git gc -q
            git fsck --full --strict
            test -z "$(git status --porcelain)"
            git log --oneline | wc -l`;
          t.match((await inside('sh', '-c', script)).trim(), /31$/);
        });
      } finally {
        await lent.end();
      }
    });

    await t.test(
      'mounted again by both, the upper shows the same tree',
      { skip: (await unavailable(t, kernel)) ?? false },
      async (t) => {
        const actor = await Actor.start();
        try {
          const live = await treeOf(actor, mnt);
          t.ok(live.size > 5000, `${live.size} entries`);
          t.notOk([...live.values()].some((text) => text.startsWith('unreadable')));
          await union.remount();
          sameTree(t, await treeOf(actor, mnt), live, 'mounted again by the same program');
          await union.remount(kernel);
          sameTree(t, await treeOf(actor, mnt), live, 'mounted by the kernel');
        } finally {
          await actor.end();
        }
      },
    );
    if ((await run(['mountpoint', '-q', mnt])).status === 0) await unmount(mnt);
  });
}

/** What dpkg --verify says in the chroot; it exits 1 when something deviates. */
async function verified(mnt: string): Promise<string> {
  return (await run(['chroot', mnt, 'dpkg', '--verify'])).stdout;
}

t.setTimeout(600_000);
const base = await workspace(t);
const missing = await run(['sh', '-c', 'command -v mmdebstrap']);
if (process.getuid?.() !== 0) t.pass('needs root', { skip: 'a chroot needs root' });
else if (missing.status !== 0)
  t.pass('needs mmdebstrap', { skip: 'mmdebstrap is not installed: apt-get install mmdebstrap' });
else {
  const rootfs = await bootstrap(base);
  // What the test expects is proved on the kernel's overlay; a peer shows what it tells apart.
  const mounters: Readonly<Record<string, Mounter>> = {
    plyfs,
    kernel,
    'fuse-overlayfs': fuseOverlayfs,
  };
  const named = process.env['UNION_MOUNTER'] ?? 'plyfs';
  const mounter = mounters[named];
  if (!mounter)
    throw new Error(`UNION_MOUNTER is "${named}": it must be plyfs, kernel or fuse-overlayfs`);
  await usedAsRoot(mounter, rootfs);
}
