/**
 * Attaching a session to the tree: through mount(2) where this process may, else through
 * fusermount3.
 *
 * Once mounted, the mount point is never touched by this process: any call on it would wait for
 * this process to answer. Unmounting is left to another thread, or to fusermount3, while this one
 * goes on serving: umount(2) writes back what is dirty and returns only after that has been
 * answered. What mount(2) made is unmounted without a program: while libuv starts one, this thread
 * waits until it has been read from disk, for ever if the mount covers it.
 */
import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { bytesOf, textOf } from '../base/bytes.js';
import type { ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import {
  AT_FDCWD,
  MNT_DETACH,
  MS_DIRSYNC,
  MS_LAZYTIME,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_RELATIME,
  MS_REMOUNT,
  MS_STRICTATIME,
  MS_SYNCHRONOUS,
  O_CLOEXEC,
  O_RDWR,
  UMOUNT_NOFOLLOW,
} from '../sys/constants.js';
import { sessions, sys } from '../sys/index.js';
import { MAX_TRANSFER } from './init.js';
import { FUSERMOUNTS, unmountByHelper } from '../host/fuse-unmount.js';

/**
 * What the mount itself is like. Absent fields: suid, dev and allow_other for root only, programs
 * may run, no access times.
 */
export interface MountOptions {
  readonly readOnly: boolean;
  readonly allowOther?: boolean;
  readonly suid?: boolean;
  readonly dev?: boolean;
  readonly exec?: boolean;
  /** false: owners and modes are shown and bind nobody. */
  readonly permissions?: boolean;
  readonly sync?: boolean;
  readonly dirsync?: boolean;
  readonly atime?: 'noatime' | 'relatime' | 'strictatime';
  readonly nodiratime?: boolean;
  readonly lazytime?: boolean;
  readonly fsname?: ByteString;
  readonly subtype?: ByteString;
}

export interface Mounted {
  /** /dev/fuse, mounted. Owned by the caller. */
  readonly fd: number;
  /**
   * Takes the mount out of the tree; the session then ends by itself. `lazy`: also while files in
   * it are open. Resolves to 0 or -errno (-EBUSY, or -EINVAL when it is not mounted any more).
   */
  unmount(lazy: boolean): Promise<number>;
}

const DEFAULT_NAME = bytesOf('plyfs');

interface Settings {
  readonly readOnly: boolean;
  readonly suid: boolean;
  readonly dev: boolean;
  readonly exec: boolean;
  readonly allowOther: boolean;
  readonly permissions: boolean;
  readonly fsname: ByteString;
  readonly subtype: ByteString;
  readonly flags: number;
}

function settingsOf(options: MountOptions, root: boolean): Settings {
  const suid = options.suid ?? root;
  const dev = options.dev ?? root;
  const exec = options.exec ?? true;
  return {
    readOnly: options.readOnly,
    suid,
    dev,
    exec,
    allowOther: options.allowOther ?? root,
    permissions: options.permissions ?? true,
    fsname: options.fsname ?? DEFAULT_NAME,
    subtype: options.subtype ?? DEFAULT_NAME,
    flags: flagsOf({ ...options, suid, dev, exec }),
  };
}

/** MS_* flags of mount(2). */
function flagsOf({ suid, dev, exec, ...options }: MountOptions): number {
  let flags = 0;
  if (options.readOnly) flags |= MS_RDONLY;
  if (suid === false) flags |= MS_NOSUID;
  if (dev === false) flags |= MS_NODEV;
  if (exec === false) flags |= MS_NOEXEC;
  if (options.sync === true) flags |= MS_SYNCHRONOUS;
  if (options.dirsync === true) flags |= MS_DIRSYNC;
  const atime = options.atime ?? 'noatime';
  flags |= atime === 'noatime' ? MS_NOATIME : atime === 'relatime' ? MS_RELATIME : MS_STRICTATIME;
  if (options.nodiratime === true) flags |= MS_NODIRATIME;
  if (options.lazytime === true) flags |= MS_LAZYTIME;
  return flags;
}

/** Throws PlyfsError unless `mountpoint` is a directory that can be entered. */
export function checkMountpoint(mountpoint: ByteString): void {
  const where = textOf(mountpoint);
  let stat;
  try {
    stat = statSync(Buffer.from(mountpoint, 'latin1'));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new PlyfsError(
        'mountpoint-missing',
        `the mount point ${where} does not exist: create it with mkdir`,
        { cause: error },
      );
    }
    if (code === 'ENOTCONN') {
      throw new PlyfsError(
        'mountpoint-stale',
        `the mount point ${where} holds a mount whose process is gone: unmount it with umount or fusermount3 -u`,
        {
          cause: error,
        },
      );
    }
    throw new PlyfsError(
      'mountpoint-unusable',
      `the mount point ${where} cannot be used (${messageOf(error)}): choose one you may enter`,
      {
        cause: error,
      },
    );
  }
  if (!stat.isDirectory())
    throw new PlyfsError(
      'mountpoint-not-directory',
      `the mount point ${where} is not a directory: choose one that is`,
    );
}

function openDevice(): number {
  const fd = sys.openat(AT_FDCWD, bytesOf('/dev/fuse'), O_RDWR | O_CLOEXEC, 0);
  if (fd === -E.ENOENT || fd === -E.ENODEV || fd === -E.ENXIO) {
    throw new PlyfsError(
      'no-fuse-device',
      'there is no /dev/fuse: load the kernel module with modprobe fuse, or start the container with --device /dev/fuse',
    );
  }
  return fd;
}

function dataOf(fd: number, settings: Settings): ByteString {
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  const checked = settings.permissions ? ',default_permissions' : '';
  const other = settings.allowOther ? ',allow_other' : '';
  return bytesOf(
    `fd=${fd},rootmode=40000,user_id=${uid},group_id=${gid}${checked}${other},max_read=${MAX_TRANSFER}`,
  );
}

function mountDirect(fd: number, mountpoint: ByteString, settings: Settings): number {
  const type = bytesOf(`fuse.${textOf(settings.subtype)}`);
  return sys.mount(settings.fsname, mountpoint, type, settings.flags, dataOf(fd, settings));
}

/** fusermount3 takes a backslash before what would end a value (util/fusermount.c, do_mount). */
function escaped(name: ByteString): string {
  return textOf(name).replace(/[\\,]/g, '\\$&');
}

function fusermountOptions(settings: Settings): string {
  const words = [settings.readOnly ? 'ro' : 'rw', `max_read=${MAX_TRANSFER}`];
  if (settings.permissions) words.push('default_permissions');
  words.push(
    settings.suid ? 'suid' : 'nosuid',
    settings.dev ? 'dev' : 'nodev',
    settings.exec ? 'exec' : 'noexec',
  );
  if ((settings.flags & MS_NOATIME) !== 0) words.push('noatime');
  if ((settings.flags & MS_SYNCHRONOUS) !== 0) words.push('sync');
  if ((settings.flags & MS_DIRSYNC) !== 0) words.push('dirsync');
  if (settings.allowOther) words.push('allow_other');
  words.push(`fsname=${escaped(settings.fsname)}`, `subtype=${escaped(settings.subtype)}`);
  return words.join(',');
}

/**
 * Gives the mount at `mountpoint`, and its file system where others share that, other options of
 * the VFS. Returns 0 or -errno: -EPERM where this process may not (mount(2), MS_REMOUNT).
 */
export function remountNative(mountpoint: ByteString, options: MountOptions): number {
  const none = bytesOf('');
  return sys.mount(none, mountpoint, none, MS_REMOUNT | flagsOf(options), none);
}

function mountByHelper(mountpoint: ByteString, settings: Settings, refusal: string): Mounted {
  const where = textOf(mountpoint);
  if (bytesOf(where) !== mountpoint) {
    throw new PlyfsError(
      'mountpoint-unusable',
      `the mount point ${where} is not UTF-8, and fusermount3 cannot be told of it: choose another, or mount as root`,
    );
  }
  const pair = sessions.socketpair();
  if (typeof pair === 'number')
    throw new PlyfsError(
      'mount-failed',
      `cannot make a socket for fusermount3 (${reasonOf(-pair)}): close files and try again`,
    );
  const [ours, theirs] = pair;
  try {
    const program = askHelper(where, settings, theirs, refusal);
    const fd = sessions.receiveFd(ours);
    if (fd < 0)
      throw new PlyfsError(
        'mount-failed',
        `${program} sent no descriptor for ${where} (${reasonOf(-fd)}): check that it is the one of libfuse`,
      );
    return {
      fd,
      async unmount(lazy) {
        return unmountByHelper(program, where, lazy);
      },
    };
  } finally {
    sys.close(ours);
    sys.close(theirs);
  }
}

/**
 * Has a setuid helper mount, with `socket` inherited as its descriptor 3; returns the helper's
 * name.
 */
function askHelper(where: string, settings: Settings, socket: number, refusal: string): string {
  for (const program of FUSERMOUNTS) {
    const done = spawnSync(program, ['-o', fusermountOptions(settings), '--', where], {
      stdio: ['ignore', 'ignore', 'pipe', socket],
      env: { ...process.env, _FUSE_COMMFD: '3', LC_ALL: 'C' },
      encoding: 'utf8',
    });
    if (done.error !== undefined && 'code' in done.error && done.error.code === 'ENOENT') continue;
    if (done.error !== undefined)
      throw new PlyfsError('mount-failed', `${program} cannot be run (${messageOf(done.error)})`, {
        cause: done.error,
      });
    if (done.status === 0) return program;
    const said = done.stderr.trim().split('\n').join('; ');
    const remedy = /user_allow_other/.test(said)
      ? 'leave out allow_other, or have user_allow_other put into /etc/fuse.conf'
      : /\/dev\/fuse/.test(said)
        ? 'have /dev/fuse made readable and writable for you (chmod 666 /dev/fuse), or mount as root'
        : 'mount at a directory of your own, or as root';
    throw new PlyfsError(
      'mount-denied',
      `cannot mount at ${where}: ${said || `${program} failed`}; ${remedy}`,
    );
  }
  throw new PlyfsError(
    'no-fusermount',
    `cannot mount at ${where}: ${refusal}, and there is no fusermount3 in PATH: install the package fuse3, or mount as root`,
  );
}

/**
 * Mounts at `mountpoint`. Throws PlyfsError: no-fuse-device, mountpoint-*, no-fusermount,
 * mount-denied, mount-failed.
 */
export function mountNative(mountpoint: ByteString, options: MountOptions): Mounted {
  checkMountpoint(mountpoint);
  const root = process.geteuid?.() === 0;
  const settings = settingsOf(options, root);
  const fd = openDevice();
  let refusal = 'mounting needs root here';
  if (fd >= 0) {
    const result = mountDirect(fd, mountpoint, settings);
    if (result >= 0)
      return {
        fd,
        unmount: (lazy) => sys.umount2Async(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)),
      };
    sys.close(fd);
    const where = textOf(mountpoint);
    if (result === -E.ENODEV)
      throw new PlyfsError(
        'no-fuse-device',
        'this kernel has no FUSE: load its module with modprobe fuse',
      );
    if (result !== -E.EPERM && result !== -E.EACCES) {
      throw new PlyfsError(
        'mount-failed',
        `cannot mount at ${where} (${reasonOf(-result)}): check the mount options and the mount point`,
      );
    }
    refusal = `mount(2) is refused (${reasonOf(-result)})`;
  } else {
    refusal = `/dev/fuse cannot be opened (${reasonOf(-fd)})`;
  }
  return mountByHelper(mountpoint, settings, refusal);
}
