/**
 * A mount that nobody can reach any more: no process is left in its mount namespace but those that
 * serve mounts there.
 *
 * A process that serves a mount keeps the mount namespace in which it was started, and so the mount
 * itself, for ever: what is not unmounted before the last shell of `unshare -m` or
 * `buildah unshare` ends stays that way. Whoever mounts its upper directory next has it end.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Whether this process's mount namespace is such a one, as far as /proc shows. */
export function isAbandoned(): boolean {
  try {
    const own = readlinkSync('/proc/self/ns/mnt');
    const name = readFileSync('/proc/self/comm', 'latin1');
    return !readdirSync('/proc').some(
      (pid) =>
        /^\d+$/.test(pid) &&
        isInside(pid, own) &&
        readFileSync(`/proc/${pid}/comm`, 'latin1') !== name,
    );
  } catch {
    return false;
  }
}

function isInside(pid: string, namespace: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`) === namespace;
  } catch {
    // It has ended, or is of another user, who cannot have entered.
    return false;
  }
}
