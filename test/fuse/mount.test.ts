/**
 * The native transport for real: /dev/fuse, mount(2), and programs in child processes, as this
 * process serves the mount and must not touch it itself.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { bytesOf } from '../../src/base/bytes.js';
import { E, Errno } from '../../src/base/errno.js';
import { defaultServeOptions } from '../../src/fuse/connection.js';
import type { ServeOptions } from '../../src/fuse/connection.js';
import { serve } from '../../src/fuse/dispatcher.js';
import { MAX_TRANSFER } from '../../src/fuse/init.js';
import { mountNative } from '../../src/fuse/mount.js';
import type { MountOptions, Mounted } from '../../src/fuse/mount.js';
import { Opcode } from '../../src/fuse/protocol.js';
import { sessions } from '../../src/sys/index.js';
import type { Session } from '../../src/sys/session.js';
import { run } from '../support/command.js';
import type { Outcome } from '../support/command.js';
import { temporaryDirectory } from '../support/mounts.js';
import { asNobody, isRoot, NOBODY } from '../support/users.js';
import { MemoryFileSystem } from './memory-file-system.js';

interface Served {
  readonly fs: MemoryFileSystem;
  readonly session: Session;
  readonly mounted: Mounted;
  readonly done: Promise<void>;
  /** Runs a script with the mount as its working directory. */
  readonly sh: (script: string) => Promise<Outcome>;
}

async function start(
  t: Test,
  options: Partial<ServeOptions> = {},
  mount: MountOptions = { readOnly: false },
): Promise<Served> {
  const directory = await temporaryDirectory(t);
  const mountpoint = join(directory, 'mnt, \\é');
  const data = join(directory, 'data');
  mkdirSync(mountpoint);
  mkdirSync(data);
  const fs = new MemoryFileSystem(data);
  const mounted = mountNative(bytesOf(mountpoint), mount);
  const session = sessions.open(mounted.fd, MAX_TRANSFER);
  const done = serve(session, fs, { ...defaultServeOptions, ...options });
  t.teardown(async () => {
    await mounted.unmount(true);
    await done;
  });
  const sh: Served['sh'] = (script) =>
    run(['sh', '-c', `cd "$1" && { ${script}\n}`, 'sh', mountpoint], {
      env: { ...process.env, LC_ALL: 'C.UTF-8' },
    });
  return { fs, session, mounted, done, sh };
}

t.test('files, directories, links and attributes', async (t) => {
  const { sh, session } = await start(t);
  const { stdout, stderr } = await sh(`
    umask 027
    echo one > a; echo two >> a; cat a
    mkdir d; ln -s ../a d/l; cat d/l; ln a d/hard; stat -c '%h %a %F' a
    mv a d/b; ls d; rm d/hard
    touch -d '1950-01-01 UTC' d/b; stat -c '%Y' d/b
    mknod null c 1 3; stat -c '%t:%T' null
    truncate -s 1000000 d/b; stat -c '%s' d/b; stat -f -c '%l' .
    rm -r d null; ls
  `);
  t.equal(stderr, '');
  t.equal(
    stdout,
    'one\ntwo\none\ntwo\n2 640 regular file\nb\nhard\nl\n-631152000\n1:3\n1000000\n255\n',
  );
  const counts = session.counts();
  t.equal(counts.get(Opcode.OPEN)?.[1], 1, 'files are opened without a message after the first');
  t.equal(counts.get(Opcode.OPENDIR)?.[1], 1);
  t.equal(counts.get(Opcode.CREATE)?.[1], 1);
});

t.test('data goes both ways unharmed', async (t) => {
  const { sh, session } = await start(t);
  const { stdout } = await sh(`
    head -c 5000000 /dev/urandom > ../data/source; cat ../data/source > copy; cmp ../data/source copy && echo same
    dd if=copy bs=4096 skip=3 count=1 status=none iflag=direct | wc -c
    rm copy
  `);
  t.equal(stdout, 'same\n4096\n');
  const [native = 0, script = 0] = session.counts().get(Opcode.WRITE) ?? [];
  t.ok(native > script, 'the data path served the writes');
});

t.test('a large directory is listed once each', async (t) => {
  const { sh } = await start(t);
  const { stdout } = await sh('seq 3000 | xargs touch; ls -f | sort | uniq -d; ls | wc -l');
  t.equal(stdout, '3000\n');
});

t.test('a file that is unlinked while open stays readable', async (t) => {
  const { sh } = await start(t);
  t.equal(
    (await sh('echo text > f; exec 3<>f; rm f; cat <&3; stat -L -c %h /proc/self/fd/3')).stdout,
    'text\n0\n',
  );
});

t.test('operations that wait leave others to go on', async (t) => {
  const { sh, fs } = await start(t);
  await sh('mkdir slow');
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  fs.before = (operation) => (operation === 'rmdir' ? held : undefined);
  const slow = sh('rmdir slow && echo gone');
  while (!fs.calls.includes('rmdir 1 slow')) await new Promise(setImmediate);
  t.equal((await sh('stat -c %F .')).stdout, 'directory\n');
  release();
  t.equal((await slow).stdout, 'gone\n');
});

t.test('a writeback cache is written back by the unmount', async (t) => {
  const { sh, mounted, done, fs } = await start(t, { writeback: true });
  await sh('head -c 3000000 /dev/zero > f');
  t.equal(await mounted.unmount(false), 0);
  await done;
  t.equal(fs.destroyed, 1);
  t.ok(fs.calls.some((call) => call.startsWith('openFile 2 true')));
});

t.test('unmounting what is in use, and what is gone', async (t) => {
  const { sh, mounted, done, fs } = await start(t);
  let announce = (): void => undefined;
  const there = new Promise<void>((resolve) => (announce = resolve));
  fs.before = (operation) => {
    if (operation === 'lookup') announce();
  };
  // The lookup tells that the shell is in the mount, where it stays until something is written into
  // the pipe: opened before, because `..` leads nowhere from what is detached.
  const user = sh('mkfifo ../pipe; exec 3<>../pipe; test -e name; read -r _ <&3');
  await there;
  t.equal(await mounted.unmount(false), -E.EBUSY);
  t.equal(await mounted.unmount(true), 0);
  t.equal(await mounted.unmount(false), -E.EINVAL);
  writeFileSync(join(fs.directory, '../pipe'), '\n');
  await user;
  await done;
});

t.test('one process serves several mounts, idle and busy', async (t) => {
  const [first, second] = [await start(t), await start(t)];
  const mounts = [first, second];
  for (let round = 0; round < 3; round++) {
    for (const { sh } of mounts)
      t.equal((await sh('mkdir -p d; ls')).stdout, 'd\n', 'one, while nobody uses the other');
  }
  const script = 'for i in $(seq 300); do echo $i > f$i; test -e none$i; done; cat f* | wc -l';
  const outcomes = await Promise.all(
    [...mounts, ...mounts].map(({ sh }, i) => sh(`mkdir w${i}; cd w${i}; ${script}`)),
  );
  for (const { stdout } of outcomes) t.equal(stdout, '300\n');

  // What waits in one does not stop the other, nor the timers of the process.
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  let announce = (): void => undefined;
  const asked = new Promise<void>((resolve) => (announce = resolve));
  first.fs.before = (operation) => {
    if (operation !== 'rmdir') return undefined;
    announce();
    return held;
  };
  const waiting = first.sh('rmdir d && echo gone');
  await asked;
  // One of those timers.
  await new Promise((resolve) => setTimeout(resolve, 1));
  t.equal((await second.sh('echo text > file; cat file')).stdout, 'text\n');
  release();
  t.equal((await waiting).stdout, 'gone\n');

  t.equal(await first.mounted.unmount(false), 0);
  await first.done;
  t.equal((await second.sh('cat file')).stdout, 'text\n', 'the other goes on');
});

t.test('nothing is spent on an idle mount', async (t) => {
  const { sh } = await start(t);
  await sh('ls');
  const { idle } = performance.eventLoopUtilization();
  const before = performance.now();
  // The time that is looked at.
  await new Promise((resolve) => setTimeout(resolve, 500));
  // The event loop slept, as far as the machine's other work let it.
  const slept = performance.eventLoopUtilization().idle - idle;
  t.ok(slept > 0.5 * (performance.now() - before), `${slept} ms`);
});

t.test('devices work, unless nodev says they do not', async (t) => {
  const script = 'mknod null c 1 3 && echo text > null && echo works';
  t.equal((await (await start(t)).sh(script)).stdout, isRoot ? 'works\n' : '');
  t.equal((await (await start(t, {}, { readOnly: false, dev: false })).sh(script)).stdout, '');
});

t.test(
  'permissions of a file on a file system without ACLs',
  { skip: !isRoot && 'another user needs root' },
  async (t) => {
    const { sh, fs } = await start(t);
    await sh(`echo text > f; chown 5:${NOBODY} f; chmod 640 f`);
    const asked: string[] = [];
    fs.before = (operation) => {
      if (operation !== 'getxattr') return;
      asked.push(operation);
      throw new Errno(E.EOPNOTSUPP);
    };
    const { stdout, stderr } = await sh(`${asNobody.join(' ')} cat f`);
    t.match({ stdout, stderr }, { stdout: 'text\n', stderr: '' });
    t.not(asked.length, 0);
  },
);

t.test('mount points that will not do', async (t) => {
  const directory = await temporaryDirectory(t);
  writeFileSync(join(directory, 'file'), '');
  t.throws(() => mountNative(bytesOf(join(directory, 'none')), { readOnly: false }), {
    code: 'mountpoint-missing',
  });
  t.throws(() => mountNative(bytesOf(join(directory, 'file')), { readOnly: false }), {
    code: 'mountpoint-not-directory',
  });
});
