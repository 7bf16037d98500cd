/** path_resolution(7): what each call that takes a path says of one that leads nowhere. */
import {
  O_CREAT,
  O_RDWR,
  O_TMPFILE,
  O_WRONLY,
  F_OK,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
} from '../constants.js';
import type { Actor } from '../actor.js';
import { asRoot, nobody, type ErrnoName, type PosixCases, type Scene } from '../posix-suite.js';
import { makeEveryType } from './types.js';

type Call = (actor: Actor, path: string) => Promise<unknown>;

/** Calls that need what the path names. `old` is a file that is there. */
const ofExisting: Readonly<Record<string, Call>> = {
  open: (a, path) => a.open(path),
  stat: (a, path) => a.stat(path),
  lstat: (a, path) => a.lstat(path),
  access: (a, path) => a.access(path, F_OK),
  truncate: (a, path) => a.truncate(path, 0),
  rmdir: (a, path) => a.rmdir(path),
  unlink: (a, path) => a.unlink(path),
  readlink: (a, path) => a.readlink(path),
  'link of': (a, path) => a.link(path, 'new'),
  'rename of': (a, path) => a.rename(path, 'new'),
  'rename with RENAME_NOREPLACE of': (a, path) => a.rename(path, 'new', RENAME_NOREPLACE),
  'exchange of': (a, path) => a.rename(path, 'old', RENAME_EXCHANGE),
  'exchange with': (a, path) => a.rename('old', path, RENAME_EXCHANGE),
  chmod: (a, path) => a.chmod(path, 0o700),
  chown: (a, path) => a.chown(path, -1, -1),
  lchown: (a, path) => a.lchown(path, -1, -1),
  utimens: (a, path) => a.utimens(path, [1, 1], [1, 1]),
  setxattr: (a, path) => a.setxattr(path, 'user.a', 'v'),
  getxattr: (a, path) => a.getxattr(path, 'user.a'),
  listxattr: (a, path) => a.listxattr(path),
  removexattr: (a, path) => a.removexattr(path, 'user.a'),
  statfs: (a, path) => a.statvfs(path),
  chdir: (a, path) => a.chdir(path),
  getdents: (a, path) => a.list(path),
  execve: (a, path) => a.exec(path),
  'open with O_TMPFILE': (a, path) => a.open(path, O_TMPFILE | O_RDWR),
};

/** Calls that make the name. */
const making: Readonly<Record<string, Call>> = {
  'open with O_CREAT': (a, path) => a.open(path, O_CREAT | O_WRONLY),
  mkdir: (a, path) => a.mkdir(path),
  mknod: (a, path) => a.mknod(path, S_IFIFO | 0o600),
  symlink: (a, path) => a.symlink('x', path),
  'link to': (a, path) => a.link('old', path),
  'rename to': (a, path) => a.rename('old', path),
};

const every: Readonly<Record<string, Call>> = { ...ofExisting, ...making };

/** Calls that follow a symbolic link at the end of their path. */
const following = [
  'open',
  'stat',
  'access',
  'truncate',
  'chmod',
  'chown',
  'statfs',
  'chdir',
  'getdents',
  'execve',
  'open with O_CREAT',
];

async function all(
  s: Scene,
  calls: Readonly<Record<string, Call>>,
  expected: ErrnoName,
  paths: readonly string[],
  actor = s.actor,
): Promise<void> {
  for (const [what, call] of Object.entries(calls)) {
    for (const path of paths)
      await s.fails(
        expected,
        call(actor, path),
        `${what} ${path.length > 100 ? `(${path.length} bytes)` : path}`,
      );
  }
}

export const pathCases: PosixCases = {
  'every call: a path through something that is no directory is ENOTDIR': async (s) => {
    await makeEveryType(s.actor);
    await s.actor.put('old', 'x');
    await s.settle();
    await all(s, every, 'ENOTDIR', ['file/x', 'link/x', 'fifo/x', 'socket/x', 'file/../old']);
    s.t.equal(await s.actor.get('old'), 'x');
  },

  'every call: a path through a missing name is ENOENT, as is the empty path': async (s) => {
    await makeEveryType(s.actor);
    await s.actor.put('old', 'x');
    await s.settle();
    await all(s, every, 'ENOENT', ['missing/x', 'dangling/x', 'dir/missing/x', '']);
    await all(s, ofExisting, 'ENOENT', ['missing', 'dir/missing']);
    s.t.equal(await s.actor.get('old'), 'x');
  },

  'every call: a path through a loop is ELOOP, and where the last link is followed, one at its end':
    async (s) => {
      await s.actor.symlink('loop', 'loop');
      await s.actor.symlink('b', 'a');
      await s.actor.symlink('a', 'b');
      await s.actor.put('old', 'x');
      await s.settle();
      await all(s, every, 'ELOOP', ['loop/x', 'a/x']);
      const followed = Object.fromEntries(
        Object.entries(every).filter(([what]) => following.includes(what)),
      );
      await all(s, followed, 'ELOOP', ['loop', 'b']);
      s.t.equal(await s.actor.readlink('loop'), 'loop');
    },

  'every call: a name of 256 bytes is ENAMETOOLONG, as is a path of 4,096': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const long = 'n'.repeat(256);
    await all(s, every, 'ENAMETOOLONG', [long, `${long}/x`, `./${'./'.repeat(2046)}old`]);
    s.t.same(await s.actor.names(), ['old']);
  },

  'every call: a directory that may not be searched is EACCES': asRoot(async (s) => {
    for (const [dir, mode] of [
      ['closed', 0o700],
      ['listed', 0o744],
    ] as const) {
      await s.actor.mkdir(dir);
      await s.actor.put(`${dir}/x`, 'x');
      await s.actor.chmod(dir, mode);
    }
    await s.actor.put('old', 'x', 0o666);
    await s.settle();
    const user = await s.start({ identity: nobody });
    await all(s, every, 'EACCES', ['closed/x', 'listed/x', 'closed/missing/x'], user);
    s.t.equal(await s.actor.get('closed/x'), 'x');
  }),

  'trailing slashes: a directory is meant': async (s) => {
    await makeEveryType(s.actor);
    await s.actor.mkdir('empty');
    await s.settle();
    for (const what of [
      'open',
      'lstat',
      'rmdir',
      'unlink',
      'readlink',
      'link of',
      'rename of',
      'chmod',
      'listxattr',
      'statfs',
      'execve',
    ]) {
      await s.fails('ENOTDIR', (every[what] as Call)(s.actor, 'file/'), what);
    }
    await s.actor.mkdir('new/');
    await s.actor.rename('new/', 'new2/');
    await s.actor.rmdir('new2/');
    await s.fails('ENOENT', s.actor.mknod('new/', S_IFIFO | 0o600));
    await s.fails('ENOENT', s.actor.symlink('x', 'new/'));
    await s.fails('ENOENT', s.actor.link('file', 'new/'));
    await s.fails('EISDIR', s.actor.unlink('empty/'));
    await s.fails('EEXIST', s.actor.mkdir('dirlink/'));
    await s.fails('EINVAL', s.actor.readlink('dirlink/'));
    s.t.equal((await s.actor.lstat('dirlink/')).mode & S_IFMT, S_IFDIR);
    s.t.equal((await s.actor.lstat('dirlink')).mode & S_IFMT, S_IFLNK);
    await s.actor.rmdir('empty//');
    s.t.notOk((await s.actor.names()).includes('empty'));
  },

  'link and rename to another file system are EXDEV': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of ['file', 'dir', 'dangling', 'fifo'])
      await s.fails('EXDEV', s.actor.rename(type, `/proc/plyfs-${type}`), type);
    await s.fails('EXDEV', s.actor.link('file', '/dev/plyfs-file'));
    await s.fails('EXDEV', s.actor.link('/proc/version', 'new'));
    await s.fails('EXDEV', s.actor.rename('/proc/version', 'new'));
    s.t.notOk((await s.actor.names()).includes('new'));
  },

  'readlink fills a buffer that is too small': async (s) => {
    await s.actor.symlink('a target', 'link');
    await s.settle();
    s.t.equal(await s.actor.readlink('link', 3), 'a t');
    await s.fails('EINVAL', s.actor.readlink('link', 0));
  },
};
