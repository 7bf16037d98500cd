/**
 * What a mount over `fuse-native` cannot do, as data: the conformance suite leaves cases out by
 * `id`, and the README quotes the rest. Sources: fuse-native 2.2.6 `index.js` and `fuse-native.c`,
 * libfuse 2.9 `lib/fuse.c`.
 */
export interface TransportLimit {
  readonly id: string;
  readonly limit: string;
  readonly reason: string;
}

export const fuseNativeLimits = [
  {
    id: 'caller',
    limit:
      "New files belong to the user that serves the mount, and every operation is done with that user's rights.",
    reason:
      'fuse-native passes neither uid nor gid of the caller; the kernel checks permissions (default_permissions) before it asks.',
  },
  {
    id: 'acl',
    limit:
      'POSIX ACLs are stored and shown, but neither enforced nor inherited from a default ACL.',
    reason: 'libfuse 2.9 does not negotiate FUSE_POSIX_ACL and FUSE_DONT_MASK.',
  },
  {
    id: 'time-resolution',
    limit: 'Times are read and set in milliseconds; a time before 1970 shows as 1970.',
    reason: 'fuse-native passes times as unsigned milliseconds.',
  },
  {
    id: 'single-time',
    limit: 'Setting only one of atime and mtime (`touch -m`) succeeds and changes nothing.',
    reason:
      'libfuse 2.9 calls utimens for one time only with flag_utime_omit_ok, which fuse-native cannot set.',
  },
  {
    id: 'name-encoding',
    limit:
      'A name, link target or xattr name that is not UTF-8 is listed with U+FFFD in it and answers EILSEQ.',
    reason: 'fuse-native passes strings through UTF-8 with replacement.',
  },
  {
    id: 'inode-number',
    limit: 'Inode numbers are 32 bits: a larger one is folded and may coincide with another.',
    reason: 'fuse-native passes st_ino as 32 bits.',
  },
  {
    id: 'hard-link',
    limit:
      'Names of one hard-linked file are cached apart: one shows a change made through the other after up to the attribute timeout, and its data when it is opened again. With `timeout=0` attributes show at once.',
    reason: 'libfuse 2.9 is path-based and gives each name a kernel inode of its own.',
  },
  {
    id: 'unlinked-open',
    limit:
      'A file that is removed while open stays in its directory as `.fuse_hidden…` until it is closed, so the directory is not empty, and a change to the file shows an nlink of 1.',
    reason:
      'libfuse 2.9 renames it, as a path-based file system has no other name for it, and corrects nlink in getattr alone.',
  },
  {
    id: 'replaced-name',
    limit:
      'Opening a name in the moment in which another file is renamed over it may fail with ENOENT.',
    reason: 'libfuse 2.9 opens by path, and the file that was looked up has none any more.',
  },
  {
    id: 'removed-directory',
    limit: 'fstat of a directory that was removed while open fails with ENOENT.',
    reason: 'libfuse 2.9 asks by path, and the directory has none any more.',
  },
  {
    id: 'rename-flags',
    limit: 'renameat2 with RENAME_NOREPLACE, RENAME_EXCHANGE or RENAME_WHITEOUT fails with EINVAL.',
    reason: 'libfuse 2.9 does not know FUSE_RENAME2.',
  },
  {
    id: 'fallocate',
    limit: 'fallocate fails with EOPNOTSUPP.',
    reason: 'fuse-native has no such operation.',
  },
  {
    id: 'seek-data',
    limit: 'SEEK_DATA and SEEK_HOLE see no holes, and copy_file_range copies through the caller.',
    reason: 'libfuse 2.9 knows neither FUSE_LSEEK nor FUSE_COPY_FILE_RANGE.',
  },
  {
    id: 'tmpfile',
    limit: 'O_TMPFILE fails with EOPNOTSUPP.',
    reason: 'libfuse 2.9 does not know FUSE_TMPFILE.',
  },
  {
    id: 'interrupt',
    limit: 'A signal does not shorten a long copy-up.',
    reason: 'fuse-native does not pass interrupts on.',
  },
  {
    id: 'invalidation',
    limit: 'What the file system changes by itself shows after up to the timeouts.',
    reason: 'libfuse 2.9 has no notifications for path-based file systems.',
  },
  {
    id: 'speed',
    limit: 'Metadata operations take several times as long as over the native transport.',
    reason:
      'Each is a hop between a libfuse thread and the event loop, and nothing is cached for longer than the timeouts.',
  },
  {
    id: 'architecture',
    limit: 'Only x86-64 works without a compiler.',
    reason: 'fuse-native carries a prebuilt addon for linux-x64 only.',
  },
] as const satisfies readonly TransportLimit[];

export type FuseNativeLimitId = (typeof fuseNativeLimits)[number]['id'];
