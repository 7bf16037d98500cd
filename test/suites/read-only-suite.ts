/**
 * What a read-only mount must do, as a function of its mount point: every change is EROFS, whoever
 * asks, and all else works.
 *
 * `prepare` makes the tree; the target then shows it at `mountpoint`, read-only.
 */
import type { Test } from 'tap';
import { figure } from '../support/figures.js';
import { Actor } from './actor.js';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  LOCK_EX,
  LOCK_NB,
  MAP_SHARED,
  O_APPEND,
  O_CREAT,
  O_EXCL,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  PROT_READ,
  PROT_WRITE,
  R_OK,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  S_IFCHR,
  S_IFIFO,
  UTIME_NOW,
  W_OK,
  XATTR_CREATE,
} from './constants.js';
import { fails, nobody, type ErrnoName } from './posix-suite.js';
import { acl } from './posix/acl.js';
import { makeEveryType } from './posix/types.js';
import { treeOf } from './tree.js';

const isRoot = process.getuid?.() === 0;

/** Makes what the suite expects in the actor's working directory. */
export async function prepare(actor: Actor): Promise<void> {
  await makeEveryType(actor);
  await actor.mkdir('empty');
  await actor.put('second', 'second');
  await actor.link('second', 'dir/second-name');
  await actor.setxattr('file', 'user.kept', 'v');
  for (const name of ['file', 'dir', 'empty', 'second']) await actor.chmod(name, 0o777);
}

type Call = (a: Actor) => Promise<unknown>;

/** Every call that would change something. */
const changes: Readonly<Record<string, Call>> = {
  'open for writing': (a) => a.open('file', O_WRONLY),
  'open for reading and writing': (a) => a.open('file', O_RDWR),
  'open with O_APPEND': (a) => a.open('file', O_WRONLY | O_APPEND),
  'open with O_TRUNC': (a) => a.open('file', O_RDONLY | O_TRUNC),
  'open through a symlink': (a) => a.open('link', O_WRONLY),
  create: (a) => a.open('new', O_CREAT | O_WRONLY),
  'create with O_EXCL': (a) => a.open('dir/new', O_CREAT | O_EXCL | O_RDONLY),
  'create through a dangling symlink': (a) => a.open('dangling', O_CREAT | O_WRONLY),
  O_TMPFILE: (a) => a.open('dir', O_TMPFILE | O_RDWR),
  truncate: (a) => a.truncate('file', 0),
  mkdir: (a) => a.mkdir('new'),
  mknod: (a) => a.mknod('dir/new', S_IFIFO | 0o600),
  symlink: (a) => a.symlink('x', 'new'),
  link: (a) => a.link('file', 'dir/new'),
  unlink: (a) => a.unlink('second'),
  'unlink of a symlink': (a) => a.unlink('dangling'),
  rmdir: (a) => a.rmdir('empty'),
  rename: (a) => a.rename('file', 'new'),
  'rename over': (a) => a.rename('file', 'second'),
  'rename of a directory': (a) => a.rename('dir', 'empty'),
  'rename with RENAME_NOREPLACE': (a) => a.rename('file', 'new', RENAME_NOREPLACE),
  'rename with RENAME_EXCHANGE': (a) => a.rename('file', 'fifo', RENAME_EXCHANGE),
  chmod: (a) => a.chmod('file', 0o600),
  'chmod of a directory': (a) => a.chmod('dir', 0o700),
  chown: (a) => a.chown('file', 1, 1),
  'lchown of a symlink': (a) => a.lchown('link', 1, 1),
  utimens: (a) => a.utimens('file', [1, 1], [1, 1]),
  'utimens to now': (a) => a.utimens('dir', [0, UTIME_NOW], [0, UTIME_NOW]),
  setxattr: (a) => a.setxattr('file', 'user.new', 'v'),
  'setxattr with XATTR_CREATE': (a) => a.setxattr('dir', 'user.new', 'v', XATTR_CREATE),
  removexattr: (a) => a.removexattr('file', 'user.kept'),
  'setting an ACL': (a) =>
    a.setxattr('file', 'system.posix_acl_access', acl(['user', 6], ['group', 4], ['other', 0])),
  'removing an ACL': (a) => a.removexattr('file', 'system.posix_acl_access'),
  'access for writing': (a) => a.access('file', W_OK),
  'access for writing to a directory': (a) => a.access('dir', W_OK),
};

/** What the change would be refused for on a writable mount, too: that comes first. */
const otherwise: Readonly<Record<string, readonly [ErrnoName, Call]>> = {
  'mkdir of what is there': ['EEXIST', (a) => a.mkdir('dir')],
  'open with O_EXCL of what is there': [
    'EEXIST',
    (a) => a.open('file', O_CREAT | O_EXCL | O_WRONLY),
  ],
  'link to what is there': ['EEXIST', (a) => a.link('second', 'file')],
  'symlink over what is there': ['EEXIST', (a) => a.symlink('x', 'fifo')],
  'open of a missing name': ['ENOENT', (a) => a.open('missing', O_WRONLY)],
  'open of a directory for writing': ['EISDIR', (a) => a.open('dir', O_WRONLY)],
  'chmod of a missing name': ['ENOENT', (a) => a.chmod('missing', 0o600)],
};

export interface ReadOnlyOptions {
  /** For the figures. */
  readonly target: string;
  /** Changes that this target refuses otherwise, by name, each with its reason. */
  readonly exclude?: Readonly<Record<string, string>>;
}

export async function readOnlySuite(
  t: Test,
  mountpoint: string,
  options: ReadOnlyOptions,
): Promise<void> {
  const exclude = options.exclude ?? {};
  for (const name of Object.keys(exclude))
    if (!(name in changes) && !(name in otherwise))
      t.fail(`the exclusion "${name}" names no change`);
  for (const [name, reason] of Object.entries(exclude))
    t.comment(`not for this target: ${name}: ${reason}`);
  const asked = (name: string) => exclude[name] === undefined;
  let assertions = 0;
  const part = async (
    name: string,
    run: (t: Test, actor: Actor) => Promise<void>,
    identity?: typeof nobody,
  ) => {
    await t.test(name, async (t) => {
      const actor = await Actor.start({
        cwd: mountpoint,
        ...(identity === undefined ? {} : { identity }),
      });
      try {
        await run(t, actor);
        assertions += t.counts.pass;
      } finally {
        await actor.end();
      }
    });
  };

  await part('every change is EROFS, and changes nothing', async (t, actor) => {
    const before = await treeOf(actor, mountpoint, { nlink: true });
    for (const [what, call] of Object.entries(changes))
      if (asked(what)) await fails(t, 'EROFS', call(actor), what);
    if (isRoot)
      await fails(t, 'EROFS', actor.mknod('new', S_IFCHR | 0o600, 1, 3), 'mknod of a device');
    for (const [what, [errno, call]] of Object.entries(otherwise))
      if (asked(what)) await fails(t, errno, call(actor), what);
    t.same(await treeOf(actor, mountpoint, { nlink: true }), before);
  });

  if (isRoot) {
    await part(
      'for an ordinary user, too, where the modes would let him',
      async (t, actor) => {
        for (const what of [
          'open for writing',
          'truncate',
          'utimens to now',
          'setxattr',
          'access for writing',
          'access for writing to a directory',
        ])
          if (asked(what)) await fails(t, 'EROFS', (changes[what] as Call)(actor), what);
      },
      nobody,
    );
  }

  await part('everything is read, listed, locked and mapped', async (t, actor) => {
    t.equal(await actor.get('file'), 'content of a file\n');
    t.equal(await actor.get('link'), 'content of a file\n');
    t.equal(await actor.readlink('dangling'), 'nowhere');
    t.same(await actor.names('dir'), ['inside', 'second-name']);
    t.equal((await actor.lstat('second')).nlink, 2);
    t.equal((await actor.lstat('second')).ino, (await actor.lstat('dir/second-name')).ino);
    t.equal(await actor.getxattr('file', 'user.kept'), 'v');
    t.equal(await actor.access('file', R_OK), 0);
    const fd = await actor.open('file');
    t.equal(await actor.flock(fd, LOCK_EX | LOCK_NB), 0);
    t.equal(await actor.peek(await actor.mmap(fd, 4096, PROT_READ, MAP_SHARED), 0, 7), 'content');
    await fails(t, 'EACCES', actor.mmap(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED));
    await fails(t, 'EBADF', actor.write(fd, 'x'));
    await fails(t, 'EBADF', actor.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 10));
    await fails(t, 'EROFS', actor.fchmod(fd, 0o600));
    await fails(t, 'EROFS', actor.futimens(fd, [1, 1], [1, 1]));
    t.equal(await actor.fsync(fd), 0);
    // What goes through a FIFO changes no file.
    const pipe = await actor.open('fifo', O_RDWR | O_NONBLOCK);
    await actor.write(pipe, 'through');
    t.equal(await actor.read(pipe, 100), 'through');
    t.ok((await actor.statvfs('.')).blocks > 0);
  });
  figure(t, assertions, `read-only assertions on ${options.target}`);
}
