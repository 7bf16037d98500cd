/**
 * Single operations on a union, each in a directory of its own: what a crash, a failing call or a
 * full disk may cut short.
 *
 * An operation ends in one of two states, the one before it and the one after it: `act` is one
 * system call as far as the union is concerned.
 */
import type { Actor } from '../suites/actor.js';
import {
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  RENAME_EXCHANGE,
  S_IFCHR,
  S_IFIFO,
} from '../suites/constants.js';

export interface FaultScenario {
  /** Mount options. */
  readonly options?: readonly string[];
  /** Lays out the directory in the lower layer, which is the actor's working directory. */
  lay(lower: Actor): Promise<void>;
  /** The same in the upper, for what only another union leaves there. */
  layUpper?(upper: Actor): Promise<void>;
  /** Leads to the state before; through the mount, in the same directory. */
  prepare?(mnt: Actor): Promise<void>;
  act(mnt: Actor): Promise<unknown>;
  /**
   * Paths whose inode number is another after the next mount: a copy of one of several names
   * carries no origin (src/union/copy-up.ts, `setOrigin`), nor does what takes an emptied
   * directory's place before it is replaced.
   */
  readonly newNumber?: readonly string[];
  /** By somebody else than root. */
  readonly user?: true;
}

/** A directory of mode 0700 in another, with a file that has all that a copy-up must keep. */
async function layFile(lower: Actor, content = 'x'.repeat(20_000)): Promise<void> {
  await lower.mkdir('closed', 0o700);
  await lower.mkdir('closed/deep', 0o711);
  await lower.put('closed/deep/file', content);
  await lower.setxattr('closed/deep/file', 'user.note', 'of the file');
  await lower.setxattr('closed/deep', 'user.note', 'of its directory');
  await lower.setxattr('closed/deep/file', 'trusted.note', 'of the file');
  await lower.lchown('closed/deep/file', 1000, 2000);
  await lower.chmod('closed/deep/file', 0o4750);
  await lower.lchown('closed/deep', 1002, 2002);
}

const FILE = 'closed/deep/file';

/** A file with three names. */
async function laySeveral(lower: Actor): Promise<void> {
  await lower.put('first', 'one file');
  await lower.mkdir('dir');
  await lower.link('first', 'dir/second');
  await lower.link('first', 'third');
}

async function writeTo(mnt: Actor, path: string, data: string): Promise<void> {
  const fd = await mnt.open(path, O_RDWR);
  try {
    await mnt.write(fd, data, 0);
  } finally {
    await mnt.close(fd).catch(() => undefined);
  }
}

/** Two files and two directories, one of them empty. */
async function layNames(lower: Actor): Promise<void> {
  await lower.put('one', 'one');
  await lower.put('two', 'two');
  await lower.lchown('one', 1000, 2000);
  await lower.mkdir('dir');
  await lower.put('dir/inside', 'inside');
  await lower.mkdir('empty', 0o750);
  await lower.lchown('empty', 1001, 2001);
  await lower.setxattr('empty', 'user.note', 'of the empty one');
}

/** Puts the directory itself into the upper, so that the operation need not. */
async function raise(mnt: Actor, ...paths: readonly string[]): Promise<void> {
  for (const path of ['.', ...paths]) await mnt.setxattr(path, 'user.raised', 'yes');
}

const above = (mnt: Actor): Promise<void> => raise(mnt, 'closed', 'closed/deep');

const copyUps: Record<string, FaultScenario> = {
  'copy-up of a small file by a write, its parents missing': {
    lay: (lower) => layFile(lower),
    act: (mnt) => writeTo(mnt, FILE, 'X'),
  },
  'copy-up of a file over 1 MiB by a write': {
    lay: (lower) => layFile(lower, 'y'.repeat(1_500_000)),
    prepare: above,
    act: (mnt) => writeTo(mnt, FILE, 'Y'),
  },
  'copy-up of a file with a hole by a write': {
    lay: async (lower) => {
      await lower.put('file', 'before the hole');
      await writeTo(lower, 'file', 'a');
      const fd = await lower.open('file', O_WRONLY);
      await lower.write(fd, 'after it', 3_000_000);
      await lower.close(fd);
    },
    prepare: (mnt) => raise(mnt),
    act: (mnt) => writeTo(mnt, 'file', 'A'),
  },
  'copy-up by chmod': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: (mnt) => mnt.chmod(FILE, 0o600),
  },
  'copy-up by chown': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: (mnt) => mnt.lchown(FILE, 7, 8),
  },
  'copy-up by utimens': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: (mnt) => mnt.utimens(FILE, [11, 22], [33, 44]),
  },
  'copy-up by setxattr': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: (mnt) => mnt.setxattr(FILE, 'user.note', 'another'),
  },
  'copy-up by removexattr': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: (mnt) => mnt.removexattr(FILE, 'user.note'),
  },
  'copy-up by truncate to less': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: (mnt) => mnt.truncate(FILE, 5000),
  },
  'copy-up by truncate to more': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: (mnt) => mnt.truncate(FILE, 50_000),
  },
  'copy-up by open with O_TRUNC': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: async (mnt) => mnt.close(await mnt.open(FILE, O_WRONLY | O_TRUNC)),
  },
  'copy-up by fallocate': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: async (mnt) => {
      const fd = await mnt.open(FILE, O_RDWR);
      try {
        await mnt.fallocate(fd, 0, 0, 40_000);
      } finally {
        await mnt.close(fd).catch(() => undefined);
      }
    },
  },
  'copy-up by link': {
    lay: (lower) => layFile(lower),
    prepare: above,
    act: (mnt) => mnt.link(FILE, 'closed/name'),
  },
  'a write to a metadata-only copy': {
    // Such a copy without an origin has the number of the upper file.
    newNumber: ['file'],
    lay: (lower) => lower.put('file', 'x'.repeat(20_000)),
    layUpper: async (upper) => {
      await upper.put('file', '');
      await upper.truncate('file', 20_000);
      await upper.chmod('file', 0o640);
      await upper.setxattr('file', 'trusted.overlay.metacopy', '');
    },
    act: (mnt) => writeTo(mnt, 'file', 'X'),
  },
  'copy-up of a symbolic link': {
    lay: async (lower) => {
      await lower.mkdir('dir');
      await lower.symlink('../some/where', 'dir/link');
    },
    prepare: (mnt) => raise(mnt, 'dir'),
    act: (mnt) => mnt.lchown('dir/link', 3, 4),
  },
  'copy-up of a fifo': {
    lay: async (lower) => {
      await lower.mkdir('dir');
      await lower.mknod('dir/fifo', S_IFIFO | 0o622);
      await lower.setxattr('dir/fifo', 'trusted.note', 'of the fifo');
    },
    prepare: (mnt) => raise(mnt, 'dir'),
    act: (mnt) => mnt.chmod('dir/fifo', 0o640),
  },
  'copy-up of a device': {
    lay: (lower) => lower.mknod('device', S_IFCHR | 0o640, 5, 6).then(() => undefined),
    prepare: (mnt) => raise(mnt),
    act: (mnt) => mnt.lchown('device', 1, 2),
  },
  'copy-up of directories by chmod': {
    lay: (lower) => layFile(lower),
    act: (mnt) => mnt.chmod('closed/deep', 0o755),
  },
  'copy-up of a file with several names to the index': {
    options: ['index=on'],
    lay: laySeveral,
    prepare: (mnt) => raise(mnt, 'dir'),
    act: (mnt) => writeTo(mnt, 'dir/second', 'X'),
  },
  'copy-up of a symbolic link with several names to the index': {
    options: ['index=on'],
    lay: async (lower) => {
      await lower.symlink('target', 'link');
      await lower.link('link', 'again');
    },
    prepare: (mnt) => raise(mnt),
    act: (mnt) => mnt.lchown('link', 1, 2),
  },
  'removal of an unused name of a file in the index': {
    options: ['index=on'],
    lay: laySeveral,
    prepare: async (mnt) => {
      await raise(mnt, 'dir');
      await writeTo(mnt, 'dir/second', 'X');
    },
    act: (mnt) => mnt.unlink('first'),
  },
  'removal of the last name of a file in the index': {
    options: ['index=on'],
    lay: laySeveral,
    prepare: async (mnt) => {
      await raise(mnt, 'dir');
      for (const name of ['dir/second', 'third']) await mnt.unlink(name);
    },
    act: (mnt) => mnt.unlink('first'),
  },
  'a further name for a file in the index': {
    options: ['index=on'],
    lay: laySeveral,
    prepare: async (mnt) => {
      await raise(mnt, 'dir');
      await writeTo(mnt, 'dir/second', 'X');
    },
    act: (mnt) => mnt.link('dir/second', 'fourth'),
  },
  'rename over an unused name of a file in the index': {
    options: ['index=on'],
    lay: laySeveral,
    prepare: async (mnt) => {
      await raise(mnt, 'dir');
      await mnt.put('new', 'new');
    },
    act: (mnt) => mnt.rename('new', 'third'),
  },
  'copy-up of both names of a file': {
    newNumber: ['first', 'dir/second'],
    lay: async (lower) => {
      await lower.put('first', 'content');
      await lower.mkdir('dir');
      await lower.link('first', 'dir/second');
    },
    prepare: async (mnt) => {
      await raise(mnt, 'dir');
      await mnt.lstat('first');
      await mnt.lstat('dir/second');
    },
    act: (mnt) => mnt.setxattr('dir/second', 'user.note', 'new'),
  },
};

const renames: Record<string, FaultScenario> = {
  'rename of a file of the lower': {
    lay: layNames,
    prepare: (mnt) => raise(mnt, 'dir'),
    act: (mnt) => mnt.rename('one', 'dir/new'),
  },
  'rename of a file of the lower over another': {
    lay: layNames,
    prepare: (mnt) => raise(mnt),
    act: (mnt) => mnt.rename('one', 'two'),
  },
  'rename of a file of the upper over nothing': {
    lay: layNames,
    prepare: (mnt) => mnt.put('new', 'new'),
    act: (mnt) => mnt.rename('new', 'dir/newer'),
  },
  'rename of a file of the upper over a name of the lower': {
    lay: layNames,
    prepare: (mnt) => mnt.put('new', 'new'),
    act: (mnt) => mnt.rename('new', 'one'),
  },
  'rename of a file of the upper over a name of the upper': {
    lay: layNames,
    prepare: async (mnt) => {
      await mnt.put('new', 'new');
      await mnt.put('other', 'other');
    },
    act: (mnt) => mnt.rename('new', 'other'),
  },
  'rename of a file that was copied up over a copied-up one': {
    lay: layNames,
    prepare: (mnt) => raise(mnt, 'one', 'two'),
    act: (mnt) => mnt.rename('one', 'two'),
  },
  'rename of a file over a whiteout': {
    lay: layNames,
    prepare: async (mnt) => {
      await mnt.unlink('two');
    },
    act: (mnt) => mnt.rename('one', 'two'),
  },
  'exchange of two files of the lower': {
    lay: layNames,
    prepare: (mnt) => raise(mnt, 'dir'),
    act: (mnt) => mnt.rename('one', 'dir/inside', RENAME_EXCHANGE),
  },
  'exchange of a file of the upper and one of the lower': {
    lay: layNames,
    prepare: (mnt) => mnt.put('new', 'new'),
    act: (mnt) => mnt.rename('new', 'dir/inside', RENAME_EXCHANGE),
  },
  'exchange of a new directory and a file of the lower': {
    lay: layNames,
    prepare: async (mnt) => {
      await mnt.mkdir('new');
      await mnt.put('new/in', 'in');
    },
    act: (mnt) => mnt.rename('new', 'one', RENAME_EXCHANGE),
  },
  'rename of a new directory onto a deleted name of the lower': {
    lay: layNames,
    prepare: async (mnt) => {
      await mnt.unlink('dir/inside');
      await mnt.rmdir('dir');
      await mnt.mkdir('new', 0o711);
      await mnt.put('new/in', 'in');
    },
    act: (mnt) => mnt.rename('new', 'dir'),
  },
  'rename of a new directory out of a new one onto a deleted name': {
    lay: layNames,
    prepare: async (mnt) => {
      await mnt.rmdir('empty');
      await mnt.mkdir('new');
      await mnt.mkdir('new/sub');
      await mnt.put('new/sub/in', 'in');
    },
    act: (mnt) => mnt.rename('new/sub', 'empty'),
  },
  'rename of a new directory over an empty one of the lower': {
    lay: layNames,
    prepare: async (mnt) => {
      await mnt.mkdir('new');
      await mnt.put('new/in', 'in');
    },
    act: (mnt) => mnt.rename('new', 'empty'),
  },
  'rename of a new directory over one that was emptied': {
    newNumber: ['dir'],
    lay: async (lower) => {
      await layNames(lower);
      await lower.chmod('dir', 0o2775);
      await lower.lchown('dir', 1001, 2001);
      await lower.setxattr('dir', 'user.note', 'of the directory');
    },
    prepare: async (mnt) => {
      await mnt.unlink('dir/inside');
      await mnt.utimens('dir', [1, 2], [3, 4]);
      await mnt.mkdir('new');
      await mnt.put('new/in', 'in');
    },
    act: (mnt) => mnt.rename('new', 'dir'),
  },
};

const redirects: Record<string, FaultScenario> = {
  'rename of a directory of the lower': {
    options: ['redirect_dir=on'],
    lay: layNames,
    prepare: (mnt) => raise(mnt),
    act: (mnt) => mnt.rename('dir', 'renamed'),
  },
  'rename of a directory of the lower into another': {
    options: ['redirect_dir=on'],
    lay: layNames,
    prepare: (mnt) => raise(mnt, 'dir'),
    act: (mnt) => mnt.rename('dir', 'empty/renamed'),
  },
  'rename of a directory of the lower onto a deleted name': {
    options: ['redirect_dir=on'],
    lay: layNames,
    prepare: async (mnt) => {
      await mnt.rmdir('empty');
    },
    act: (mnt) => mnt.rename('dir', 'empty'),
  },
  'second rename of a directory of the lower': {
    options: ['redirect_dir=on'],
    lay: layNames,
    prepare: async (mnt) => {
      await mnt.rename('dir', 'empty/renamed');
      await mnt.put('empty/renamed/new', 'new');
    },
    act: (mnt) => mnt.rename('empty/renamed', 'again'),
  },
  'exchange of two directories of the lower': {
    options: ['redirect_dir=on'],
    lay: layNames,
    prepare: (mnt) => raise(mnt),
    act: (mnt) => mnt.rename('dir', 'empty', RENAME_EXCHANGE),
  },
};

const removals: Record<string, FaultScenario> = {
  'unlink of a name of the lower': { lay: layNames, act: (mnt) => mnt.unlink('dir/inside') },
  'unlink of a copied-up name': {
    lay: layNames,
    prepare: (mnt) => raise(mnt, 'one'),
    act: (mnt) => mnt.unlink('one'),
  },
  'unlink of a name of the upper': {
    lay: layNames,
    prepare: (mnt) => mnt.put('new', 'new'),
    act: (mnt) => mnt.unlink('new'),
  },
  'rmdir of a directory of the lower': {
    lay: layNames,
    prepare: (mnt) => raise(mnt),
    act: (mnt) => mnt.rmdir('empty'),
  },
  'rmdir of a copied-up directory': {
    lay: layNames,
    prepare: (mnt) => raise(mnt, 'empty'),
    act: (mnt) => mnt.rmdir('empty'),
  },
  'rmdir of a directory that holds whiteouts': {
    lay: async (lower) => {
      await layNames(lower);
      for (let i = 0; i < 3; i++) await lower.put(`dir/f${i}`, '');
    },
    prepare: async (mnt) => {
      for (const name of ['inside', 'f0', 'f1', 'f2']) await mnt.unlink(`dir/${name}`);
    },
    act: (mnt) => mnt.rmdir('dir'),
  },
};

const overWhiteout = (act: FaultScenario['act']): FaultScenario => ({
  lay: layNames,
  prepare: async (mnt) => {
    await mnt.unlink('dir/inside');
    await mnt.rmdir('dir');
  },
  act,
});

const creations: Record<string, FaultScenario> = {
  'mkdir over a whiteout': overWhiteout((mnt) => mnt.mkdir('dir', 0o751)),
  'mknod over a whiteout': overWhiteout((mnt) => mnt.mknod('dir', S_IFIFO | 0o644)),
  'creation of a file over a whiteout': overWhiteout((mnt) => mnt.mknod('dir', 0o100640)),
  'symlink over a whiteout': overWhiteout((mnt) => mnt.symlink('target', 'dir')),
  'link over a whiteout': overWhiteout((mnt) => mnt.link('one', 'dir')),
  'mkdir in a directory of the lower': { lay: layNames, act: (mnt) => mnt.mkdir('dir/new') },
  'creation by a user': {
    lay: layAs,
    user: true,
    prepare: (mnt) => raise(mnt, 'open'),
    act: (mnt) => mnt.mknod('open/new', 0o100640),
  },
  'creation by a user of a set-id file': {
    lay: layAs,
    user: true,
    prepare: (mnt) => raise(mnt, 'open'),
    act: (mnt) => mnt.mknod('open/new', 0o106755),
  },
  'mkdir by a user': {
    lay: layAs,
    user: true,
    prepare: (mnt) => raise(mnt, 'open'),
    act: (mnt) => mnt.mkdir('open/new'),
  },
  'symlink by a user': {
    lay: layAs,
    user: true,
    prepare: (mnt) => raise(mnt, 'open'),
    act: (mnt) => mnt.symlink('target', 'open/new'),
  },
};

async function layAs(lower: Actor): Promise<void> {
  await lower.mkdir('open');
  await lower.chmod('open', 0o777);
}

export const scenarios: Readonly<Record<string, FaultScenario>> = {
  ...copyUps,
  ...renames,
  ...redirects,
  ...removals,
  ...creations,
};
