/**
 * Cases of the suites that a mount over fuse-native cannot pass, each by the id of the limit
 * (limits.ts) that is in its way.
 */
import { fuseNativeLimits, type FuseNativeLimitId } from '../../src/fuse/fuse-native/limits.js';

type LimitByCase = Readonly<Record<string, FuseNativeLimitId>>;

export const posixLimits: LimitByCase = {
  'O_TMPFILE makes a file without a name that can be given one': 'tmpfile',
  'O_TMPFILE|O_EXCL can never be linked': 'tmpfile',
  'O_TMPFILE is for directories, and for writing': 'tmpfile',
  'an unlinked open file has nlink 0 and still reads and writes': 'unlinked-open',
  'an unlinked open file can be opened again by its descriptor, and never gets a name again':
    'unlinked-open',
  'the metadata of an unlinked open file can be changed': 'time-resolution',
  'chown that leaves both ids takes set-id bits away, and needs the owner where there are any':
    'caller',
  'files are created with the identity of their creator': 'caller',
  'a removed working directory is empty and takes nothing': 'removed-directory',
  'link gives a second name to the same file': 'hard-link',
  'link works for every type but directories (EPERM)': 'hard-link',
  'names linked before are one file': 'hard-link',
  'a hundred names, one file': 'hard-link',
  'an ordinary user may not link what he may not write to (protected_hardlinks) nor into a closed directory':
    'hard-link',
  'symlink keeps any target, up to 4095 bytes': 'name-encoding',
  'symlinks kept from before read the same': 'name-encoding',
  'an owner and times can be given to a symlink itself': 'time-resolution',
  'RENAME_NOREPLACE over anything is EEXIST, over nothing renames': 'rename-flags',
  'RENAME_EXCHANGE swaps two names of any types': 'rename-flags',
  'RENAME_EXCHANGE across directories, and of a name with itself': 'rename-flags',
  'of several who make one name, one succeeds': 'rename-flags',
  'two who exchange two names back and forth lose neither': 'rename-flags',
  'a name replaced again and again is always there, and whole': 'replaced-name',
  'a setgid directory gives its group to all, and setgid to directories': 'caller',
  'utimens sets nanoseconds on every type': 'time-resolution',
  'utimens takes times before 1970 and after 2038': 'time-resolution',
  'nanoseconds that are none are EINVAL': 'time-resolution',
  'renaming updates both directories, an exchange too': 'rename-flags',
  'what is written through a mapping is on disk after msync, and moves mtime and ctime':
    'time-resolution',
  'UTIME_OMIT leaves one time, UTIME_NOW sets it to now': 'single-time',
  'futimens works on descriptors for reading and of directories': 'time-resolution',
  'reading leaves mtime and ctime alone': 'time-resolution',
  'chmod, chown, link, rename and xattrs update only ctime': 'hard-link',
  'what changes a directory updates its mtime and ctime': 'time-resolution',
  'a write beyond the end leaves a hole of zeros': 'seek-data',
  'a file of holes stays one when a byte of it is changed': 'seek-data',
  'fallocate reserves, with and without growing': 'fallocate',
  'fallocate punches and zeroes': 'fallocate',
  'fallocate: what is refused, and ranges beyond the end': 'fallocate',
  'beyond the largest file that a process may write is EFBIG': 'fallocate',
  'whatever changes the data clears set-id bits for an ordinary user, not for root': 'fallocate',
  'ranges changed update mtime and ctime': 'fallocate',
  'trusted attributes of every type, shown to root alone': 'caller',
  'an ACL grants and denies': 'acl',
  'named groups, and the mask that limits them': 'acl',
  'names are bytes; an empty one and flags that there are not are refused': 'name-encoding',
  'a default ACL is inherited in place of the umask': 'acl',
  'a minimal default ACL sets the mode without an ACL': 'acl',
  'names are bytes: newlines, controls, not UTF-8, two spellings of é': 'name-encoding',
};

export const unionLimits: LimitByCase = {
  "attributes and xattrs of a merged directory are the topmost layer's": 'time-resolution',
  'the first change of any kind copies up': 'fallocate',
  'a lower or merged directory is EXDEV, and mv copies it': 'rename-flags',
  'RENAME_NOREPLACE counts lower names, not whiteouts': 'rename-flags',
  'RENAME_EXCHANGE of lower files and of an upper directory with one': 'rename-flags',
  'RENAME_EXCHANGE of an upper directory with a file that hides a lower directory': 'rename-flags',
  'trusted.* is listed for callers with CAP_SYS_ADMIN only': 'caller',
  'two names of one lower file stay one file when changed through either': 'hard-link',
  'two names of an upper file are one': 'hard-link',
  'the kernel mounts an upper written here': 'rename-flags',
  'an upper written by the kernel is mounted here': 'time-resolution',
  "every name listed can be stat'ed, here and by the kernel": 'time-resolution',
  'device and symlink mtimes survive copy-up': 'time-resolution',
  "times beyond what the upper's file system stores become what it makes of them":
    'time-resolution',
  'rm -rf of 8,000 lower files, and rmdir of what is left': 'speed',
  'thousands of directories made and removed': 'speed',
};

/**
 * For a suite's `exclude`: the limit in its own words. Throws for an id that limits.ts does not
 * have.
 */
export function exclusions(limits: LimitByCase): Record<string, string> {
  return Object.fromEntries(
    Object.entries(limits).map(([name, id]) => {
      const found = fuseNativeLimits.find((one) => one.id === id);
      if (found === undefined)
        throw new Error(
          `the case "${name}" is excluded by "${id}", which is no limit of fuse-native (limits.ts)`,
        );
      return [name, `${id}: ${found.limit} ${found.reason}`];
    }),
  );
}
