/** Unmounting what FUSE serves, by umount2(2) or by the set-id program of libfuse. */
import { spawn } from 'node:child_process';
import { textOf, type ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { MNT_DETACH, UMOUNT_NOFOLLOW } from '../sys/constants.js';
import { sys } from '../sys/index.js';

/** libfuse's set-id programs, of FUSE 3 and 2: they mount and unmount for ordinary users. */
export const FUSERMOUNTS = ['fusermount3', 'fusermount'] as const;

/** Runs a program to its end: its exit status and what it wrote to its standard error. */
function run([program, ...args]: readonly [string, ...string[]]): Promise<{
  status: number;
  stderr: string;
}> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.once('error', reject);
    child.once('close', (status) => {
      resolve({ status: status ?? 1, stderr });
    });
  });
}

/** fusermount3 tells why in words only. */
function errnoOf(outcome: { status: number; stderr: string }): number {
  if (outcome.status === 0) return 0;
  if (/busy/i.test(outcome.stderr)) return -E.EBUSY;
  if (/not mounted|no mount point|not found|Invalid argument/i.test(outcome.stderr))
    return -E.EINVAL;
  return -E.EPERM;
}

/** Resolves to 0 or -errno. Rejects where the program cannot be started. */
export async function unmountByHelper(
  program: string,
  mountpoint: string,
  lazy: boolean,
): Promise<number> {
  return errnoOf(await run([program, '-u', ...(lazy ? ['-z'] : []), '--', mountpoint]));
}

/**
 * Takes a FUSE mount out of the tree that any process serves. Resolves to 0 or -errno: -EBUSY,
 * -EINVAL when nothing is mounted there, -EPERM when it is not this user's, or there is no
 * fusermount3 to say so.
 */
export async function unmountForeign(mountpoint: ByteString, lazy: boolean): Promise<number> {
  const result = await sys.umount2Async(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0));
  if (result !== -E.EPERM) return result;
  for (const program of FUSERMOUNTS) {
    try {
      return await unmountByHelper(program, textOf(mountpoint), lazy);
    } catch {
      // Not installed.
    }
  }
  return result;
}
