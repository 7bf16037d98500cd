/** The mounts of this mount namespace: proc_pid_mountinfo(5). */
import { readFileSync } from 'node:fs';
import type { ByteString } from '../base/bytes.js';

export interface MountEntry {
  /**
   * `MAJOR:MINOR` of its file system, what stat(2) shows as st_dev: the same wherever it is
   * mounted, in every mount namespace.
   */
  readonly device: string;
  /** The directory of the file system that is seen there: `/` unless it is a bind mount. */
  readonly root: ByteString;
  readonly mountpoint: ByteString;
  /** As `fuse.plyfs`. */
  readonly type: string;
  readonly source: ByteString;
  /** Of the mount and of its file system: `rw`, `nosuid`, `user_id=0`. */
  readonly options: readonly string[];
}

/** In the order they were mounted. */
export function readMountTable(): MountEntry[] {
  return readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .filter((line) => line !== '')
    .map(entryOf);
}

/** The mount one sees at `mountpoint`, an absolute path without symbolic links. */
export function mountAt(mountpoint: string): MountEntry | undefined {
  return readMountTable().findLast((entry) => entry.mountpoint === mountpoint);
}

/** The kernel notes with every FUSE mount who made it: a user id. Undefined for other mounts. */
export function userOf({ options }: MountEntry): number | undefined {
  const option = options.find((word) => word.startsWith('user_id='));
  return option === undefined ? undefined : Number(option.slice('user_id='.length));
}

function entryOf(line: string): MountEntry {
  // Optional fields, any number of them, end with a lone hyphen.
  const [mount = '', fileSystem = ''] = line.split(' - ', 2);
  const [, , device = '', root = '', mountpoint = '', options = ''] = mount.split(' ');
  const [type = '', source = '', superOptions = ''] = fileSystem.split(' ');
  return {
    device,
    root: unescape(root),
    mountpoint: unescape(mountpoint),
    type,
    source: unescape(source),
    options: [...options.split(','), ...superOptions.split(',')],
  };
}

/** Space, tab, newline and backslash are written as three octal digits. */
function unescape(field: string): ByteString {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(parseInt(octal, 8)),
  ) as ByteString;
}
