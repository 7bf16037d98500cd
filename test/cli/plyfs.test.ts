import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { mountAt } from '../../src/host/mount-table.js';
import { ended, outcomeOf, run, succeed } from '../support/command.js';
import { daemonsOf } from '../support/mounts.js';
import { foreground, layers, plyfs, plyfsProgram } from '../support/plyfs.js';
import { root } from '../support/root.js';

t.test('mounts, returns when the mount answers, and leaves a daemon behind', async (t) => {
  const { mountpoint, options, upper, bottom } = await layers(t);
  t.match(await plyfs('-o', options, mountpoint), { status: 0, stdout: '', stderr: '' });
  t.match(mountAt(mountpoint), { type: 'fuse.plyfs', source: 'plyfs' });
  t.same((await succeed(['ls', mountpoint])).split('\n'), ['both', 'low', '']);
  t.equal(await readFile(join(mountpoint, 'both'), 'utf8'), 'top\n');
  await writeFile(join(mountpoint, 'low'), 'changed\n');
  t.equal(await readFile(join(upper, 'low'), 'utf8'), 'changed\n');
  t.equal(await readFile(join(bottom, 'low'), 'utf8'), 'low\n');

  const [daemon, ...others] = daemonsOf(mountpoint);
  t.same(others, []);
  t.equal(readlinkSync(`/proc/${daemon!}/cwd`), '/', 'it keeps no directory busy');
  for (const fd of [0, 1, 2])
    t.equal(readlinkSync(`/proc/${daemon!}/fd/${fd}`), '/dev/null', `descriptor ${fd}`);
  t.equal(readFileSync(`/proc/${daemon!}/comm`, 'utf8'), 'plyfs\n');
  const stat = readFileSync(`/proc/${daemon!}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  t.equal(stat[3], String(daemon), 'it leads a session of its own');
  const [soft, hard] = /^Max open files\s+(\d+)\s+(\d+)/m
    .exec(readFileSync(`/proc/${daemon!}/limits`, 'utf8'))!
    .slice(1);
  t.equal(soft, hard, 'it may open as many files as it is allowed to');

  await succeed(['umount', mountpoint]);
  await ended(daemon!);
  t.equal(mountAt(mountpoint), undefined);
});

t.test('unmounted in each of the ways one unmounts', async (t) => {
  const ways: [string, (mountpoint: string, daemon: number) => Promise<unknown>][] = [
    ['umount', (mountpoint) => succeed(['umount', mountpoint])],
    ['fusermount3 -u', (mountpoint) => succeed(['fusermount3', '-u', mountpoint])],
    ['ply umount', (mountpoint) => succeed([join(root, 'bin/ply'), 'umount', mountpoint])],
    ['SIGTERM', (_, daemon) => succeed(['kill', '-TERM', String(daemon)])],
    ['SIGINT', (_, daemon) => succeed(['kill', '-INT', String(daemon)])],
    ['SIGHUP', (_, daemon) => succeed(['kill', '-HUP', String(daemon)])],
  ];
  const { mountpoint, options, upper } = await layers(t);
  for (const [name, unmount] of ways) {
    t.match(await plyfs(mountpoint, '-o', options), { status: 0, stderr: '' }, name);
    const [daemon] = daemonsOf(mountpoint);
    await writeFile(join(mountpoint, 'new'), name);
    await unmount(mountpoint, daemon!);
    await ended(daemon!);
    t.equal(mountAt(mountpoint), undefined, name);
    t.equal(await readFile(join(upper, 'new'), 'utf8'), name);
  }
});

t.test(
  'a signal while files are open: the mount leaves the tree, the files stay usable, then the daemon ends',
  async (t) => {
    const { mountpoint, options, upper } = await layers(t);
    const daemon = await foreground(t, mountpoint, ['-f', '-o', options, mountpoint]);
    const outcome = outcomeOf(daemon);
    const file = await open(join(mountpoint, 'held'), 'w');
    daemon.kill('SIGTERM');
    while (mountAt(mountpoint) !== undefined) await run(['true']);
    await file.write('still here');
    await file.close();
    t.match(await outcome, { status: 0, signal: null, stdout: '', stderr: '' });
    t.equal(await readFile(join(upper, 'held'), 'utf8'), 'still here');
  },
);

const noNamespace = process.getuid?.() !== 0 && 'a mount namespace of its own needs root';

t.test('a signal ends a mount over the programs that unmount', { skip: noNamespace }, async (t) => {
  const { upper, work } = await layers(t);
  const script = [
    '"$0" -f -o "lowerdir=/usr,upperdir=$1,workdir=$2" /usr & daemon=$!',
    // The shell's own commands: any other would be read through the mount, which is the point.
    'mounted() { case $(while read -r line; do echo "$line"; done </proc/self/mountinfo) in *" /usr "*fuse.plyfs*) ;; *) return 1 ;; esac; }',
    'until mounted; do kill -0 $daemon || exit 1; done',
    'ls /usr/bin/env; echo new >/usr/new',
    'kill -TERM $daemon; wait $daemon; echo "status $?"; mounted || echo gone',
  ].join('\n');
  const outcome = await run(['unshare', '-m', 'sh', '-c', script, plyfsProgram, upper, work]);
  t.match(outcome, { status: 0, stdout: '/usr/bin/env\nstatus 0\ngone\n', stderr: '' });
  t.equal(await readFile(join(upper, 'new'), 'utf8'), 'new\n');
});

t.test('a mount point with .. and symbolic links, one of which changes meanwhile', async (t) => {
  const { directory, mountpoint, options } = await layers(t);
  const link = join(directory, 'link');
  symlinkSync('top/../mnt', link);
  const daemon = await foreground(t, mountpoint, [
    '-f',
    '-o',
    options,
    join(directory, 'top/../link'),
  ]);
  const outcome = outcomeOf(daemon);
  await succeed(['ln', '-sfn', 'top', link]);
  daemon.kill('SIGTERM');
  t.match(await outcome, { status: 0, signal: null, stdout: '', stderr: '' });
  t.equal(mountAt(mountpoint), undefined);
});

t.test('in the foreground it ends with the mount', async (t) => {
  const { mountpoint, options } = await layers(t);
  const daemon = await foreground(t, mountpoint, ['-f', mountpoint, '-o', options]);
  const outcome = outcomeOf(daemon);
  await succeed(['umount', mountpoint]);
  t.match(await outcome, { status: 0, signal: null, stdout: '', stderr: '' });
});

t.test('-o debug shows requests, and SIGUSR1 counts them and what the mount holds', async (t) => {
  const { mountpoint, options } = await layers(t);
  const daemon = await foreground(t, mountpoint, ['-o', `${options},debug`, mountpoint]);
  const outcome = outcomeOf(daemon);
  await succeed(['cat', join(mountpoint, 'low')]);
  t.not((await run(['cat', join(mountpoint, 'absent')])).status, 0);
  daemon.kill('SIGUSR1');
  await succeed(['umount', mountpoint]);
  const { status, stderr } = await outcome;
  t.equal(status, 0);
  t.match(stderr, /^INIT /m);
  t.match(Buffer.from(stderr, 'latin1').toString(), /^LOOKUP 1 "low": \d+ bytes, \d+ µs$/m);
  t.equal(stderr.match(/^operation +requests/gm)?.length, 2, 'when asked and at the end');
  t.match(stderr, /^READ +1 +/m);
  // The root and "low", unless the kernel was short of memory meanwhile.
  t.match(stderr, /^nodes [12], descriptors [0-9]$/m);
});

t.test('bad input: one sentence, the right status, nothing mounted', async (t) => {
  const { directory, mountpoint, options, top, bottom, upper, work } = await layers(t);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  const missing = join(directory, 'missing');
  mkdirSync(join(upper, 'lower-in-upper'));
  mkdirSync(join(upper, 'work-in-upper'));
  const cases: [string, string[], number, RegExp][] = [
    ['no words', [], 2, /mount point/],
    ['no lowerdir', [mountpoint], 2, /lowerdir/],
    ['too many words', ['-o', options, 'a', mountpoint, 'c'], 2, /'c'/],
    ['an unknown flag', ['-x', '-o', options, mountpoint], 2, /'-x'/],
    ['a value that is not one', ['-o', `${options},xino=maybe`, mountpoint], 2, /xino/],
    [
      'an upper without a work',
      ['-o', `lowerdir=${top},upperdir=${upper}`, mountpoint],
      2,
      /workdir/,
    ],
    ['a missing lower', ['-o', `lowerdir=${top}:${missing}`, mountpoint], 1, new RegExp(missing)],
    [
      'a lower that is a file',
      ['-o', `lowerdir=${file}`, mountpoint],
      1,
      new RegExp(`${file}.*not a directory`),
    ],
    [
      'a missing upper',
      ['-o', `lowerdir=${top},upperdir=${missing},workdir=${work}`, mountpoint],
      1,
      new RegExp(missing),
    ],
    [
      'a missing work',
      ['-o', `lowerdir=${top},upperdir=${upper},workdir=${missing}`, mountpoint],
      1,
      new RegExp(missing),
    ],
    [
      'a lower inside the upper',
      ['-o', `lowerdir=${upper}/lower-in-upper,upperdir=${upper},workdir=${work}`, mountpoint],
      1,
      /lower-in-upper/,
    ],
    [
      'a work inside the upper',
      ['-o', `lowerdir=${bottom},upperdir=${upper},workdir=${upper}/work-in-upper`, mountpoint],
      1,
      /work-in-upper/,
    ],
    ['a missing mount point', ['-o', options, missing], 1, new RegExp(`${missing} does not exist`)],
    [
      'a mount point that is a file',
      ['-o', options, file],
      1,
      new RegExp(`${file} is not a directory`),
    ],
    [
      'a remount of what is not mounted',
      ['-o', `remount,${options}`, mountpoint],
      1,
      /not a mount point of plyfs/,
    ],
  ];
  for (const [name, words, status, sentence] of cases) {
    const outcome = await plyfs(...words);
    t.equal(outcome.status, status, `${name}: ${outcome.stderr}`);
    t.equal(outcome.stdout, '', name);
    t.match(outcome.stderr, /^plyfs: [^\n]+\n$/, name);
    t.match(outcome.stderr, sentence, name);
    t.same(daemonsOf(mountpoint), [], name);
  }
  t.equal(mountAt(mountpoint), undefined);
  t.same(readdirSync(mountpoint), []);

  const attached = await run([plyfsProgram, '-f', '-o', `lowerdir=${missing}`, mountpoint]);
  t.match(
    attached,
    { status: 1, stderr: new RegExp(`^plyfs: .*${missing}`) },
    'the same in the foreground',
  );
});

const noSecondFileSystem =
  (!existsSync('/dev/shm') || statSync('/dev/shm').dev === statSync(tmpdir()).dev) &&
  'there is no second file system';

t.test('an upper and a work on different file systems', { skip: noSecondFileSystem }, async (t) => {
  const { mountpoint, top, upper } = await layers(t);
  const work = (await succeed(['mktemp', '-d', '-p', '/dev/shm'])).trim();
  t.teardown(() => succeed(['rm', '-rf', work]));
  t.match(await plyfs('-o', `lowerdir=${top},upperdir=${upper},workdir=${work}`, mountpoint), {
    status: 1,
    stderr: /file system/,
  });
  t.equal(mountAt(mountpoint), undefined);
});

t.test(
  'options that change nothing are mentioned, and mount(8) and fstab words are not',
  async (t) => {
    const { mountpoint, top } = await layers(t);
    const words = [
      'none',
      mountpoint,
      '-o',
      `rw,suid,dev,noauto,user,_netdev,x-systemd.automount,lowerdir=${top},nfs_export=on,shape=round`,
    ];
    const { status, stderr } = await plyfs(...words);
    t.equal(status, 0);
    t.match(stderr, /nfs_export=on/);
    t.match(stderr, /unknown argument ignored: shape=round/);
    t.notMatch(stderr, /suid|_netdev|systemd/);
    t.match(mountAt(mountpoint), { source: 'none' });
  },
);

t.test(
  'relative paths, and paths of bytes that are not UTF-8, with commas and colons',
  async (t) => {
    const { directory, bottom } = await layers(t);
    // The shell writes what a JavaScript string cannot hold.
    const script = [
      'lower=$(printf "lo\\377w,er:x") mnt=$(printf "m\\376 nt")',
      'mkdir "$lower" "$mnt" && echo odd >"$lower/odd"',
      `"$0" -o "lowerdir=$(printf "lo\\377w\\\\,er\\\\:x"):${bottom.slice(directory.length + 1)}" "$mnt" && cat "$mnt/odd" "$mnt/low" && umount "$mnt"`,
    ].join('\n');
    t.match(await run(['sh', '-c', script, plyfsProgram], { cwd: directory }), {
      status: 0,
      stdout: 'odd\nlow\n',
      stderr: '',
    });
  },
);

t.test('a mount whose daemon was killed: said, unmounted, and mounted anew', async (t) => {
  const { mountpoint, options } = await layers(t);
  await succeed([plyfsProgram, '-o', options, mountpoint]);
  const [daemon] = daemonsOf(mountpoint);
  await writeFile(join(mountpoint, 'kept'), 'kept');
  await succeed(['kill', '-KILL', String(daemon)]);
  await ended(daemon!);
  t.match(await run(['ls', mountpoint]), { stderr: /not connected/ });
  t.match(await plyfs('-o', options, mountpoint), { status: 1, stderr: /unmount/ });
  await succeed([join(root, 'bin/ply'), 'umount', mountpoint]);
  t.match(await plyfs('-o', options, mountpoint), { status: 0 });
  t.equal(await readFile(join(mountpoint, 'kept'), 'utf8'), 'kept');
});

t.test('under the name fuse-overlayfs it is that program', async (t) => {
  const { directory, mountpoint, options, top } = await layers(t);
  const link = join(directory, 'fuse-overlayfs');
  symlinkSync(plyfsProgram, link);
  t.match(await run([link, '--version']), {
    status: 0,
    stdout: /^fuse-overlayfs: version \d+\.\d+\nplyfs version /,
  });
  // Layers of podman may say "deleted" in AUFS's way.
  writeFileSync(join(top, '.wh.low'), '');
  t.match(await run([link, '-o', `${options},volatile`, mountpoint]), { status: 0, stdout: '' });
  t.match(mountAt(mountpoint), { type: 'fuse.fuse-overlayfs', source: 'fuse-overlayfs' });
  t.same((await succeed(['ls', '-A', mountpoint])).split('\n'), ['both', '']);
});

t.test('ply mounts lists it', async (t) => {
  const { mountpoint, top } = await layers(t);
  await succeed([plyfsProgram, '-o', `lowerdir=${top},fsname=mine`, mountpoint]);
  t.match(
    await succeed([join(root, 'bin/ply'), 'mounts']),
    new RegExp(`^${mountpoint} +ro +${process.getuid!()} +mine$`, 'm'),
  );
});

t.test('--version and --help', async (t) => {
  t.match(await plyfs('--version'), {
    status: 0,
    stdout: /^plyfs version \d+\.\d+\.\d+\nusing FUSE kernel interface version 7\.\d+\n$/,
    stderr: '',
  });
  t.match(await plyfs('-V'), { status: 0, stdout: /^plyfs version/ });
  for (const word of ['-h', '--help'])
    t.match(await plyfs(word), {
      status: 0,
      stdout: /^usage: plyfs .*lowerdir=.*upperdir=/s,
      stderr: '',
    });
});
