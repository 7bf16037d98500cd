/**
 * Who a caller is, which capabilities and groups it has, and what it has open: FUSE does not tell,
 * /proc does.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { O_ACCMODE, O_RDONLY } from '../sys/constants.js';
import type { Caller } from '../vfs/filesystem.js';

const CAP_FOWNER = 3n;
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
  const status = statusOf(caller);
  const groups = /^Groups:\s*([\d ]*)$/m.exec(status)?.[1] ?? '';
  // Of real, effective, saved and file system's, the last one counts.
  const own = /^Gid:(?:\s+\d+){3}\s+(\d+)$/m.exec(status)?.[1];
  return own === String(gid) || groups.trim().split(/ +/).includes(String(gid));
}

/**
 * Whether the caller may do with a file of `uid` what its owner may: CAP_FOWNER, or the same fsuid,
 * which requests do not tell once idmapped mounts are possible (FUSE_ALLOW_IDMAP). One whose pid is
 * not known may not.
 */
export function actsAsOwner(caller: Caller, uid: number): boolean {
  if (caller.pid === 0) return false;
  const fsuid = /^Uid:(?:\s+\d+){3}\s+(\d+)$/m.exec(statusOf(caller))?.[1];
  return (fsuid !== undefined && Number(fsuid) === uid) || has(caller, CAP_FOWNER);
}

/**
 * Whether the caller has a file with the inode number `ino`, on whatever file system, open to be
 * written (proc_pid_fdinfo(5)).
 */
export function mayBeWriting(caller: Caller, ino: number): boolean {
  const directory = `/proc/${caller.pid}/fdinfo`;
  try {
    return readdirSync(directory).some((fd) => {
      const [, flags = '0', number] =
        /^flags:\s+([0-7]+)$[^]*^ino:\s+(\d+)$/m.exec(readIfThere(`${directory}/${fd}`)) ?? [];
      return Number(number) === ino && (parseInt(flags, 8) & O_ACCMODE) !== O_RDONLY;
    });
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
    const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(statusOf(caller))?.[1];
    if (effective === undefined || ((BigInt(`0x${effective}`) >> capability) & 1n) === 0n)
      return false;
    // Capabilities in a user namespace of the caller's own are none here.
    return readlinkSync(`/proc/${caller.pid}/ns/user`) === readlinkSync('/proc/self/ns/user');
  } catch {
    return false;
  }
}

function statusOf({ pid }: Caller): string {
  return readIfThere(`/proc/${pid}/status`);
}

/** Empty for what has gone. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
