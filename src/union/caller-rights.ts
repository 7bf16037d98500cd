/** Which capabilities and groups a caller has: FUSE does not tell, /proc does. */
import { readFileSync, readlinkSync } from 'node:fs';
import type { Caller } from '../vfs/filesystem.js';

const CAP_FSETID = 4n;
const CAP_SYS_ADMIN = 21n;

/** Whether the caller has CAP_SYS_ADMIN. One whose pid is not known is believed to have it. */
export function mayAdministrate(caller: Caller): boolean {
  return caller.pid === 0 || has(caller, CAP_SYS_ADMIN);
}

/**
 * Whether a file's set-id bits survive the caller's changing its data: CAP_FSETID. One whose pid is
 * not known has not got it.
 */
export function mayKeepSetId(caller: Caller): boolean {
  return caller.pid !== 0 && has(caller, CAP_FSETID);
}

/**
 * Whether the caller is in the group. Costs a file of /proc: most requests do not tell any group
 * (src/fuse/request.ts). One that cannot be looked at is in none.
 */
export function isInGroup(caller: Caller, gid: number): boolean {
  if (caller.pid === 0) return false;
  try {
    const status = readFileSync(`/proc/${caller.pid}/status`, 'latin1');
    const groups = /^Groups:\s*([\d ]*)$/m.exec(status)?.[1] ?? '';
    // Of real, effective, saved and file system's, the last one counts.
    const own = /^Gid:(?:\s+\d+){3}\s+(\d+)$/m.exec(status)?.[1];
    return own === String(gid) || groups.trim().split(/ +/).includes(String(gid));
  } catch {
    return false;
  }
}

/**
 * A capability in this process's user namespace. Costs two files of /proc. A caller that has ended
 * has none.
 */
function has(caller: Caller, capability: bigint): boolean {
  try {
    const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${caller.pid}/status`, 'latin1'))?.[1];
    if (effective === undefined || ((BigInt(`0x${effective}`) >> capability) & 1n) === 0n) return false;
    // Capabilities in a user namespace of the caller's own are none here.
    return readlinkSync(`/proc/${caller.pid}/ns/user`) === readlinkSync('/proc/self/ns/user');
  } catch {
    return false;
  }
}
