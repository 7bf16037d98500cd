/** Which capabilities a caller has: FUSE does not tell, /proc does. */
import { readFileSync, readlinkSync } from 'node:fs';
import type { Caller } from '../vfs/filesystem.js';

const CAP_SYS_ADMIN = 21n;

/**
 * Whether the caller has CAP_SYS_ADMIN in this process's user namespace. Costs two files of /proc. A caller whose pid is not known
 * is believed to have it, and one that has ended not.
 */
export function mayAdministrate(caller: Caller): boolean {
  if (caller.pid === 0) return true;
  try {
    const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${caller.pid}/status`, 'latin1'))?.[1];
    if (effective === undefined || ((BigInt(`0x${effective}`) >> CAP_SYS_ADMIN) & 1n) === 0n) return false;
    // Capabilities in a user namespace of the caller's own are none here.
    return readlinkSync(`/proc/${caller.pid}/ns/user`) === readlinkSync('/proc/self/ns/user');
  } catch {
    return false;
  }
}
