/**
 * The transport over the npm package fuse-native: mounts of a file system in memory, used by child
 * processes, as this process serves them and must not touch them itself.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { bytesOf } from '../../src/base/bytes.js';
import { E, Errno } from '../../src/base/errno.js';
import { fuseNativeLimits, type FuseNativeLimitId } from '../../src/fuse/fuse-native/limits.js';
import {
  serveFuseNative,
  type FuseNativeMount,
  type FuseNativeOptions,
} from '../../src/fuse/fuse-native/serve.js';
import { Attributes, ROOT_NODE, type Host } from '../../src/vfs/filesystem.js';
import { readMountTable } from '../../src/host/mount-table.js';
import { posixLimits, unionLimits } from '../suites/fuse-native-exclusions.js';
import { run, succeed } from '../support/command.js';
import { MemoryFileSystem } from '../support/memory-fs.js';
import { temporaryDirectory } from '../support/mounts.js';
import { isRoot } from '../support/users.js';

interface Served {
  readonly fs: MemoryFileSystem;
  readonly mountpoint: string;
  readonly mount: FuseNativeMount;
  /** A shell's stdout in the mount; throws unless it succeeds. */
  readonly sh: (script: string) => Promise<string>;
  /** Its stderr; throws if it succeeds. */
  readonly fails: (script: string) => Promise<string>;
}

async function served(t: Test, options: FuseNativeOptions = {}): Promise<Served> {
  const directory = await temporaryDirectory(t);
  const mountpoint = join(directory, 'mnt');
  const data = join(directory, 'data');
  mkdirSync(mountpoint);
  mkdirSync(data);
  const fs = new MemoryFileSystem(data);
  const mount = await serveFuseNative(fs, mountpoint, {
    attrTimeout: 0,
    entryTimeout: 0,
    ...options,
  });
  t.teardown(() => mount.unmount(true));
  // The shell goes there: spawn with `cwd` would have this process wait for a child that waits for
  // this process.
  const shell = (script: string) =>
    run(['sh', '-c', `cd "$1" && { ${script}\n}`, 'sh', mountpoint], {
      env: { ...process.env, LC_ALL: 'C.UTF-8' },
    });
  return {
    fs,
    mountpoint,
    mount,
    sh: async (script) => {
      const { status, stdout, stderr } = await shell(script);
      if (status !== 0) throw new Error(`${script}: ${stderr}`);
      return stdout;
    },
    fails: async (script) => {
      const { status, stdout, stderr } = await shell(script);
      if (status === 0) throw new Error(`${script} succeeded: ${stdout}`);
      return stderr;
    },
  };
}

const shown = new Set<FuseNativeLimitId>();

/** The message of an assertion, or the name of a test, that shows a limit. */
function limit(id: FuseNativeLimitId): string {
  shown.add(id);
  return `limit ${id}`;
}

function mounted(mountpoint: string): boolean {
  return readMountTable().some((entry) => entry.mountpoint === mountpoint);
}

t.test('files and directories', async (t) => {
  const { fs, sh, fails, mount, mountpoint } = await served(t);
  t.equal(await sh('ls -a'), '.\n..\n');
  await sh('mkdir -p a/b; echo hello >a/b/file; ln -s b/file a/link; mkfifo a/pipe');
  t.equal(await sh('cat a/b/file a/link; readlink a/link'), 'hello\nhello\nb/file\n');
  t.equal(await sh('find . | sort'), '.\n./a\n./a/b\n./a/b/file\n./a/link\n./a/pipe\n');
  t.equal(
    await sh('find . -type p; stat -c "%F %a" a/b'),
    './a/pipe\ndirectory 755\n',
    'types are right in listings and attributes',
  );
  t.equal(
    await sh('ls -i a/b; stat -c "%i file" a/b/file').then(
      (said) => new Set(said.trim().split('\n')).size,
    ),
    1,
    'd_ino is st_ino',
  );

  t.match(await fails('cat a/none'), /No such file/);
  t.match(await fails('mkdir a/b'), /File exists/);
  t.match(await fails('rmdir a'), /not empty/);
  t.match(await fails(`touch ${'n'.repeat(256)}`), /too long/);

  t.equal(
    await sh('echo more >>a/b/file; cat a/b/file; truncate -s 3 a/b/file; cat a/b/file'),
    'hello\nmore\nhel',
  );
  await sh('mv a/b/file a/moved; mv a c');
  t.equal(
    await sh('cat c/moved; ls c'),
    'helb\nlink\nmoved\npipe\n',
    'renamed, with what is below',
  );
  t.match(await fails('cat a/moved'), /No such file/, 'the old path is forgotten');
  t.equal(
    await sh('mkdir a; echo new >a/moved; cat a/moved c/moved'),
    'new\nhel',
    'and may be used again',
  );

  t.equal(await sh('ln c/moved c/other; stat -c %h c/other; rm c/moved; cat c/other'), '2\nhel');
  await sh('chmod 640 c/other; chown 12:34 c/other');
  t.equal(await sh('stat -c "%a %u %g" c/other'), '640 12 34\n');
  await sh('chown :56 c/other');
  t.equal(await sh('stat -c "%u %g" c/other'), '12 56\n', 'an id that is not named stays');
  await sh('rm -r a c');
  t.equal(await sh('ls'), '');

  t.ok(mounted(mountpoint));
  await mount.unmount();
  t.notOk(mounted(mountpoint), 'the mount point is free');
  t.ok(fs.destroyed);
  t.equal(fs.counts.size, 0, 'every lookup was given back');
  await mount.unmount();
});

t.test(
  'mknod and devices',
  { skip: isRoot ? false : 'only root may make device nodes' },
  async (t) => {
    const { sh } = await served(t);
    t.equal(
      await sh('mknod d b 259 70000; stat -c "%F %Hr %Lr" d'),
      'block special file 259 70000\n',
    );
  },
);

t.test('data', async (t) => {
  const { fs, sh } = await served(t);
  await sh(
    'head -c 3000000 /dev/zero | tr "\\0" x >big; dd if=big of=big bs=1000 count=3000 seek=5000 conv=notrunc 2>/dev/null',
  );
  t.equal(await sh('stat -c %s big'), '8000000\n');
  t.equal(
    await sh('tr -d x <big | wc -c; tr -d "\\0" <big | wc -c'),
    '2000000\n6000000\n',
    'a hole is left',
  );

  await sh('echo one >file');
  t.equal(
    await sh('exec 3<file 4<file; cat <&3; echo two >>file; cat <&4'),
    'one\none\ntwo\n',
    'an earlier handle reads later data',
  );
  await sh('sync file');
  t.match(fs.calls.at(-1), /^fsync /);

  const listing = await sh('exec 3<file; rm file; cat <&3; ls -a');
  t.match(
    listing,
    /^one\ntwo\n\.\n\.\.\n\.fuse_hidden\w+\nbig\n$/,
    `a file removed while open can be read, and shows: ${limit('unlinked-open')}`,
  );
  // The kernel releases files after close(2) has returned.
  await sh('while ls -a | grep -q fuse_hidden; do :; done');
  t.equal(await sh('ls -a'), '.\n..\nbig\n');
});

t.test('opening for writing does not make a descriptor writable: writing does', async (t) => {
  const { fs, sh } = await served(t);
  // A new name for a file whose descriptor was taken back: nobody holds its node.
  await sh('echo one >file; mkdir d; mv file d/file; mv d e; mv e/file file');
  const writes = () => fs.calls.filter((call) => call.endsWith('write')).length;
  const before = writes();
  await sh('exec 3<>file; cat <&3');
  t.equal(writes(), before);
  await sh('exec 3<>file; echo two >&3; cat file');
  t.equal(writes(), before + 1);
});

t.test('times', async (t) => {
  const { sh, mountpoint, mount } = await served(t);
  await sh('echo >file; touch -d @1234567890.123 file');
  t.equal(await sh('stat -c "%.3X %.3Y" file'), '1234567890.123 1234567890.123\n');
  const script = `require('fs').utimesSync(process.argv[1], 1000.5, 4102444800.25)`;
  await succeed([process.execPath, '-e', script, join(mountpoint, 'file')]);
  t.equal(
    await sh('stat -c "%.3X %.3Y" file'),
    '1000.500 4102444800.250\n',
    'both times arrive, in their places',
  );
  await sh('touch -d @-5 file');
  t.equal(await sh('stat -c %.3Y file'), '0.000\n', limit('time-resolution'));
  await sh('touch -d @7 file; touch -m -d @9 file');
  t.equal(await sh('stat -c %Y file'), '7\n', limit('single-time'));
  await mount.unmount();
});

t.test('extended attributes', async (t) => {
  const { sh, fails, mountpoint } = await served(t);
  await sh('echo >file; setfattr -n user.one -v value file; setfattr -n user.empty -v "" file');
  t.equal(await sh('getfattr --only-values -n user.one file'), 'value');
  t.equal(await sh('getfattr -d file | sort'), '\n# file: file\nuser.empty=""\nuser.one="value"\n');
  t.match(await fails('getfattr -n user.two file'), /No such attribute/);
  await sh('setfattr -x user.one file');
  t.equal(await sh('getfattr file'), '# file: file\nuser.empty\n\n');
  const python = `import os,sys
os.setxattr(sys.argv[1], 'user.big', b'b'*60000)
assert os.getxattr(sys.argv[1], 'user.big') == b'b'*60000
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
room = ctypes.create_string_buffer(10)
assert libc.getxattr(sys.argv[1].encode(), b'user.big', room, 10) == -1 and ctypes.get_errno() == 34, 'getxattr'
assert libc.listxattr(sys.argv[1].encode(), room, 3) == -1 and ctypes.get_errno() == 34, 'listxattr'
for flags, errno in ((1, 17), (2, 61)):
  try: os.setxattr(sys.argv[1], 'user.big' if flags == 1 else 'user.none', b'', flags)
  except OSError as error: assert error.errno == errno
  else: raise AssertionError(flags)`;
  if ((await run(['python3', '-c', ''])).status === 0)
    await succeed(['python3', '-c', python, join(mountpoint, 'file')]);
});

t.test('without extended attributes', async (t) => {
  const { sh, fails } = await served(t, { xattrs: false });
  await sh('echo >file');
  t.match(await fails('setfattr -n user.one -v value file'), /not supported/);
});

t.test('names', async (t) => {
  const { fs, sh, fails } = await served(t);
  t.equal(
    await sh('echo ä >"ö €𝄞"; cat *; ls'),
    'ä\nö €𝄞\n'.replace(/[^\n]+/g, (text) => bytesOf(text)),
  );
  const out = new Attributes();
  const caller = { uid: 0, gid: 0, pid: 0, umask: 0, parentGroup: -1, interrupted: false };
  const node = await fs.mknod(ROOT_NODE, '\xff' as never, 0o100644, 0, 0, caller, out);
  fs.forget(node, 1);
  t.match(await fails('cat "$(printf "\\377")"'), /Invalid or incomplete/, limit('name-encoding'));
  t.match(await fails('mkdir "$(printf "x\\376")"'), /Invalid or incomplete/);
  t.match(await fails('ln -s "$(printf "x\\376")" link'), /Invalid or incomplete/);
});

t.test('free space in more than 32 bits', async (t) => {
  const { sh } = await served(t, { source: 'a,b' });
  t.equal(
    await sh('df --output=source,fstype,size,used -B1G . | tail -n 1 | tr -s " "'),
    'a,b fuse.plyfs 65536 32768\n',
  );
});

t.test('references are given back as paths are forgotten', async (t) => {
  const { fs, sh, mount } = await served(t, { maxPaths: 4 });
  await sh(
    'for i in 1 2 3 4 5 6 7 8 9; do mkdir -p $i/$i/$i; echo $i >$i/$i/$i/file; done; cat */*/*/file >/dev/null',
  );
  const held = [...fs.counts.values()].reduce((sum, count) => sum + count, 0);
  t.ok(held <= 4, `${held} lookups are held`);
  await sh(
    'exec 3<1/1/1/file; cat 2/2/2/file 3/3/3/file 4/4/4/file >/dev/null; cat <&3 >/dev/null',
  );
  await mount.unmount();
  t.equal(fs.counts.size, 0);
});

t.test('what fails', async (t) => {
  const { fs, sh, fails } = await served(t);
  await sh('echo >file');
  fs.hook = (_operation, name) => {
    if (name === 'nospace') throw new Errno(E.ENOSPC);
    if (name === 'broken') throw new Error('no errno');
    if (name === 'later') return Promise.reject(new Errno(E.EDQUOT));
    return undefined;
  };
  t.match(await fails('cat nospace'), /No space left/);
  t.match(await fails('cat broken'), /Input\/output error/);
  t.match(await fails('cat later'), /quota/);
  await sh('cat file');
});

t.test('requests overlap', async (t) => {
  const { fs, sh, mount } = await served(t);
  await sh('mkdir d; echo 1 >d/slow; echo 2 >d/quick');
  let reached = (): void => undefined;
  let release = (): void => undefined;
  const waiting = new Promise<void>((resolve) => (reached = resolve));
  fs.hook = (operation, name) => {
    if (operation !== 'unlink' || name !== 'slow') return undefined;
    reached();
    return new Promise((resolve) => (release = resolve));
  };
  const removed = sh('rm d/slow');
  await waiting;
  t.equal(await sh('stat -c %F .'), 'directory\n', 'another request is served while one waits');
  release();
  await removed;
  t.equal(await sh('ls d'), 'quick\n');
  await mount.unmount();
  t.equal(fs.counts.size, 0);
});

t.test('ends', async (t) => {
  t.test('refused while in use, then lazily', async (t) => {
    const { mount, mountpoint, fs } = await served(t);
    const holder = spawn('sh', ['-c', 'cd "$1" && echo in && cat', 'sh', mountpoint], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    await t.rejects(mount.unmount(), { code: 'unmount-failed' });
    t.ok(mounted(mountpoint));
    const unmounting = mount.unmount(true);
    holder.stdin.end();
    await unmounting;
    t.ok(fs.destroyed);
    t.notOk(mounted(mountpoint));
  });

  t.test('by someone else', async (t) => {
    const { mount, mountpoint, fs } = await served(t);
    await succeed(['fusermount3', '-u', mountpoint]);
    await mount.closed;
    t.ok(fs.destroyed);
  });

  t.test('and can be mounted again, two at a time', async (t) => {
    const one = await served(t);
    const two = await served(t);
    await one.sh('echo 1 >file');
    await two.sh('echo 2 >file');
    await one.mount.unmount();
    t.equal(await two.sh('cat file'), '2\n');
    await two.mount.unmount();
  });
});

t.test(
  'over a mount point, which is seen again afterwards',
  { skip: isRoot ? false : 'only root may mount a tmpfs' },
  async (t) => {
    const directory = await temporaryDirectory(t);
    const mountpoint = join(directory, 'tmpfs');
    mkdirSync(mountpoint);
    mkdirSync(join(directory, 'data'));
    await succeed(['mount', '-t', 'tmpfs', 'tmpfs', mountpoint]);
    writeFileSync(join(mountpoint, 'below'), '');
    const mount = await serveFuseNative(new MemoryFileSystem(join(directory, 'data')), mountpoint);
    t.equal(await succeed(['ls', mountpoint]), '');
    await mount.unmount();
    t.equal(await succeed(['ls', mountpoint]), 'below\n');
  },
);

t.test('refused', async (t) => {
  const directory = await temporaryDirectory(t);
  const fs = new MemoryFileSystem(directory);
  writeFileSync(join(directory, 'file'), '');
  await t.rejects(serveFuseNative(fs, join(directory, 'none')), { code: 'mountpoint-unusable' });
  await t.rejects(serveFuseNative(fs, join(directory, 'file')), { code: 'mountpoint-unusable' });
  await t.rejects(serveFuseNative(fs, `/${'d/'.repeat(600)}`), { code: 'mountpoint-unusable' });
  await t.rejects(serveFuseNative(fs, directory, { source: 's'.repeat(1000) }), {
    code: 'mount-failed',
  });
  await t.rejects(serveFuseNative(fs, directory, { mountOptions: ['no_such_option'] }), {
    code: 'mount-failed',
  });
  t.notOk(mounted(directory));
});

t.test(limit('inode-number'), async (t) => {
  const { fs, sh } = await served(t);
  const widened = (out: Attributes) => (out.ino = out.ino * 2 ** 32 + 5);
  const [lookup, getattr] = [fs.lookup.bind(fs), fs.getattr.bind(fs)];
  fs.lookup = async (parent, name, out) => {
    const node = await lookup(parent, name, out);
    widened(out);
    return node;
  };
  fs.getattr = (node, out) => {
    getattr(node, out);
    widened(out);
  };
  const numbers = (await sh('touch a b; stat -c %i a b a b')).trim().split('\n').map(Number);
  t.ok(numbers.every((number) => number > 0 && number < 2 ** 32));
  t.not(numbers[0], numbers[1], 'numbers that differ in their high bits alone stay different');
  t.same(numbers.slice(2), numbers.slice(0, 2), 'and the same each time');
});

t.test(limit('removed-directory'), async (t) => {
  const { sh, fails } = await served(t);
  await sh('mkdir dir');
  t.match(await fails('exec 3<dir; rmdir dir; stat -L /proc/self/fd/3'), /No such file/);
});

t.test(limit('interrupt'), async (t) => {
  const { fs, sh, mountpoint } = await served(t);
  await sh('echo 1 >slow');
  let reached = (): void => undefined;
  let release = (): void => undefined;
  const waiting = new Promise<void>((resolve) => (reached = resolve));
  fs.hook = (operation) => {
    if (operation !== 'unlink') return undefined;
    reached();
    return new Promise((resolve) => (release = resolve));
  };
  const child = spawn('rm', ['-f', join(mountpoint, 'slow')], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  await waiting;
  child.kill('SIGKILL');
  t.equal(await sh('stat -c %F .'), 'directory\n');
  t.match(
    { exitCode: child.exitCode, signalCode: child.signalCode },
    { exitCode: null, signalCode: null },
    'it waits for its answer',
  );
  release();
  await ended;
  t.equal(child.signalCode, 'SIGKILL');
  t.equal(await sh('ls'), '', 'what was asked for was done');
});

t.test(limit('invalidation'), async (t) => {
  const directory = await temporaryDirectory(t);
  const mountpoint = join(directory, 'mnt');
  for (const dir of [mountpoint, join(directory, 'data')]) mkdirSync(dir);
  const fs = new MemoryFileSystem(join(directory, 'data'));
  const attach = fs.attach.bind(fs);
  let host: Host | undefined;
  fs.attach = (given) => {
    host = given;
    attach(given);
  };
  const mount = await serveFuseNative(fs, mountpoint, { attrTimeout: 3600, entryTimeout: 3600 });
  t.teardown(() => mount.unmount(true));
  const file = join(mountpoint, 'file');
  await succeed(['sh', '-c', 'echo >"$1"', 'sh', file]);
  const mode = async () => (await succeed(['stat', '-c', '%a', file])).trim();

  // What took longer than the timeout says nothing of what was cached.
  for (let attempt = 0; attempt < 20; attempt++) {
    await succeed(['chmod', '600', file]);
    const started = performance.now();
    t.equal(await mode(), '600');
    const node = fs.root.entries.get('file' as never);
    if (node === undefined) throw new Error('the file is gone');
    node.mode = (node.mode & ~0o7777) | 0o640;
    host?.invalidateNode(node.id, 0, 0);
    const found = await mode();
    if (performance.now() - started > 900) continue;
    t.equal(found, '600', 'what the file system changed does not show');
    break;
  }
  while ((await mode()) !== '640');
  t.pass('until the timeout is over, which is never an hour');
});

t.test(limit('speed'), async (t) => {
  const asked: string[] = [];
  const { sh } = await served(t, {
    trace: ({ operation, name }) => asked.push(`${operation} ${name ?? ''}`),
  });
  await sh('mkdir -p a/b; echo >a/b/file');
  asked.length = 0;
  await sh('stat a/b/file; stat a/b/file');
  for (const path of ['/a', '/a/b', '/a/b/file']) {
    t.ok(
      asked.filter((one) => one === `GETATTR ${path}`).length >= 2,
      `${path} is asked for each time`,
    );
  }
});

t.test(limit('architecture'), (t) => {
  const manifest = createRequire(import.meta.url).resolve('fuse-native/package.json');
  const builds = readdirSync(join(dirname(manifest), 'prebuilds'));
  t.same(
    builds.filter((name) => name.startsWith('linux-')),
    ['linux-x64'],
  );
  t.end();
});

t.test(
  'limits are told apart by id, and each is shown here or by a case that the suites leave out',
  (t) => {
    const ids = fuseNativeLimits.map(({ id }) => id);
    t.equal(new Set(ids).size, ids.length);
    const excluding = new Set([...Object.values(posixLimits), ...Object.values(unionLimits)]);
    t.same(
      ids.filter((id) => !shown.has(id) && !excluding.has(id)),
      [],
    );
    t.end();
  },
);
