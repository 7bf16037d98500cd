/**
 * What failed system calls mean, in words: for sentences. Errors of node:fs and `Errno` (errno.ts)
 * are the two kinds there are.
 */
import { getSystemErrorMap } from 'node:util';
import { Errno, errnoName } from './errno.js';

/** libuv's words for a positive errno, and its name: `permission denied, EACCES`. */
export function reasonOf(errno: number): string {
  const name = errnoName(errno);
  const [, words] = getSystemErrorMap().get(-errno) ?? [];
  return words === undefined ? name : `${words}, ${name}`;
}

/** A system call that failed. */
export interface SystemFailure {
  /** Positive. */
  readonly errno: number;
  /** The call, or the path if that is all that is known. */
  readonly what: string;
  readonly path?: string;
}

/** Undefined for any other error. */
export function systemFailureOf(error: unknown): SystemFailure | undefined {
  if (error instanceof Errno)
    return { errno: error.errno, what: error.message.replace(/^[^:]*(: )?/, '') };
  if (!(error instanceof Error) || !('syscall' in error) || !('errno' in error)) return undefined;
  const { errno, syscall } = error;
  if (typeof errno !== 'number' || typeof syscall !== 'string') return undefined;
  const path = 'path' in error && typeof error.path === 'string' ? error.path : undefined;
  return { errno: Math.abs(errno), what: syscall, ...(path !== undefined && { path }) };
}

/** What was to be done, by the call's name; of others the name is told. */
const deeds: Readonly<Record<string, string>> = {
  access: 'looked at',
  chdir: 'entered',
  chmod: 'given a mode',
  chown: 'given an owner',
  copyfile: 'copied',
  fstat: 'looked at',
  fsync: 'flushed',
  lchown: 'given an owner',
  link: 'given another name',
  lstat: 'looked at',
  mkdir: 'made',
  mkdtemp: 'made',
  open: 'opened',
  opendir: 'listed',
  read: 'read',
  readdir: 'listed',
  readlink: 'read',
  realpath: 'looked at',
  rename: 'renamed',
  rm: 'removed',
  rmdir: 'removed',
  scandir: 'listed',
  stat: 'looked at',
  statfs: 'looked at',
  symlink: 'made',
  unlink: 'removed',
  utime: 'given times',
  write: 'written',
};

/** What can be done about it; of others nothing is known. */
const advice: Readonly<Record<string, string>> = {
  EACCES: 'give this user the right to it, or do it as root',
  EPERM: 'do it as its owner, or as root',
  ENOENT: 'name one that is there',
  ENOTDIR: 'name a directory',
  ENOSPC: 'free some space (`ply prune` and `ply rmi` remove what is not needed)',
  EDQUOT: 'free some of your quota',
  EROFS: 'name a place that can be written to',
  EMFILE: 'raise the limit of open files (ulimit -n)',
  EIO: 'look at the disk (dmesg tells more)',
  ENAMETOOLONG: 'use a shorter name',
  EBUSY: 'end what uses it',
};

/** The whole sentence, without its full stop, for a failure that nobody has told more about. */
export function systemFailureSentence({ errno, what, path }: SystemFailure): string {
  const known = advice[errnoName(errno)];
  const remedy = known === undefined ? '' : `: ${known}`;
  const deed = deeds[what];
  if (path !== undefined && deed !== undefined)
    return `${path} cannot be ${deed} (${reasonOf(errno)})${remedy}`;
  const subject = path ?? (what.includes('/') ? what : undefined);
  const call = subject === what || what === '' ? '' : ` in ${what}`;
  return subject === undefined
    ? `The system refuses something${call} (${reasonOf(errno)})${remedy}`
    : `${subject} cannot be used${call} (${reasonOf(errno)})${remedy}`;
}
