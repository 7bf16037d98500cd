/**
 * Limits on the size of directories by XFS project quotas (moby, quota/projectquota.go): each
 * limited directory is a project of its own, and what is created in it belongs to that project. The
 * number is kept by the file system, with the directory.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bytesOf, type ByteString } from '../base/bytes.js';
import { check } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_RDONLY } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { readMountTable } from '../host/mount-table.js';

/** Whether sizes can be limited below `home`; else one sentence that says why not. */
export function quotaUnsupported(home: string): string | undefined {
  return withDirectory(home, (fd) => {
    const first = sys.getProjectId(fd);
    if (first < 0) return `${home} has no project ids (${reasonOf(-first)})`;
    // Takes the limit off a project that nobody has.
    const result = sys.setProjectQuota(fd, deviceOf(home), freeProject(home), 0);
    return result < 0
      ? `the file system of ${home} keeps no project quotas (${reasonOf(-result)}): mount it with the option pquota`
      : undefined;
  });
}

/** Limits `directory`, which is empty and one of `home`'s. Throws `option-unsupported`. */
export function limitDirectory(home: string, directory: string, bytes: number): void {
  const id = freeProject(home);
  withDirectory(directory, (fd) => {
    const set = sys.setProjectQuota(fd, deviceOf(home), id, bytes);
    const result = set < 0 ? set : sys.setProjectId(fd, id);
    if (result >= 0) return;
    throw new PlyfsError(
      'option-unsupported',
      `the size of ${directory} cannot be limited (${reasonOf(-result)}): leave the size out, or mount its file system with the option pquota.`,
    );
  });
}

/** 0: none. */
function projectOf(directory: string): number {
  return withDirectory(directory, (fd) => Math.max(0, sys.getProjectId(fd)));
}

/** One above those in use, the home's own among them. */
function freeProject(home: string): number {
  const ids = readdirSync(home, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => projectOf(join(home, entry.name)));
  return Math.max(projectOf(home), ...ids) + 1;
}

/** The device that the file system lies on, for kernels before 5.14. */
function deviceOf(path: string): ByteString {
  const mount = readMountTable()
    .filter(
      ({ mountpoint }) => mountpoint === '/' || bytesOf(`${path}/`).startsWith(`${mountpoint}/`),
    )
    .reduce<{ mountpoint: string; source: ByteString } | undefined>(
      (best, one) =>
        best === undefined || one.mountpoint.length >= best.mountpoint.length ? one : best,
      undefined,
    );
  return mount?.source ?? ('' as ByteString);
}

function withDirectory<T>(path: string, use: (fd: number) => T): T {
  const fd = check(
    sys.openat(AT_FDCWD, bytesOf(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0),
    path,
  );
  try {
    return use(fd);
  } finally {
    sys.close(fd);
  }
}
