/**
 * Device nodes of a container's own: who changes the mode or owner of one changes no other's, and
 * the host's least of all.
 *
 * They are made outside the container's /dev and bound into it one by one. Root of a container may
 * make nodes (CAP_MKNOD, as with docker), and its /dev could hold them open for use only if every
 * device of the machine were: docker and runc have a device cgroup stand before those, which not
 * everybody who runs ply can have. So /dev is `nodev`, and nothing can be made where these lie.
 *
 * In a user namespace nodes cannot be made, and the host's are bound. There their owner, root of
 * the machine, has no id: nobody in the container may change mode, owner, times or attributes of an
 * inode that is not theirs (capable_wrt_inode_uidgid, kernel/capability.c).
 */
import { mkdirSync, openSync } from 'node:fs';
import { bytesOf } from '../base/bytes.js';
import { check, E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { devices } from './container-mounts.js';
import type { IdMode } from './plan.js';

/**
 * Makes them in `directory`, which is made, in this mount namespace; returns where a container's
 * devices are: there, or in the host's /dev.
 */
export function makeDevices(directory: string, ids: IdMode): string {
  if (ids !== 'host') return '/dev';
  mkdirSync(directory);
  const flags = c.MS_NOSUID | c.MS_NOEXEC;
  const mounted = sys.mount(
    bytesOf('tmpfs'),
    bytesOf(directory),
    bytesOf('tmpfs'),
    flags,
    bytesOf('mode=755,size=64k'),
  );
  if (mounted < 0)
    throw new PlyfsError(
      'sandbox-denied',
      `Cannot mount tmpfs at ${directory} in a namespace (${reasonOf(-mounted)}).`,
    );
  const at = openSync(directory, c.O_RDONLY | c.O_DIRECTORY);
  try {
    for (const [name, { major, minor }] of Object.entries(devices)) {
      const made = sys.mknodat(at, bytesOf(name), c.S_IFCHR | 0o666, major, minor);
      // Root of a user namespace, or of a container that may not.
      if (made === -E.EPERM) return '/dev';
      check(made, name);
      // Whatever the umask of who runs this.
      check(sys.fchmodat(at, bytesOf(name), 0o666), name);
    }
  } finally {
    sys.close(at);
  }
  return directory;
}
