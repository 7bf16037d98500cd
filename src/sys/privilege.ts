/**
 * What this process may do on the machine, told from what it may do in a user namespace of its own.
 */
import { readFileSync, statSync } from 'node:fs';

/**
 * Inode number of the initial user namespace in nsfs (include/linux/proc_ns.h, PROC_USER_INIT_INO).
 */
const INITIAL_USER_NAMESPACE = 0xeffffffd;
const CAP_SYS_ADMIN = 21n;

/** Root of a user namespace is an ordinary user of the machine (user_namespaces(7)). */
export function inUserNamespace(): boolean {
  try {
    return statSync('/proc/self/ns/user').ino !== INITIAL_USER_NAMESPACE;
  } catch {
    // A kernel without user namespaces.
    return false;
  }
}

function hasSysAdmin(): boolean {
  try {
    const effective =
      /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
    return ((BigInt(`0x${effective}`) >> CAP_SYS_ADMIN) & 1n) === 1n;
  } catch {
    return process.geteuid?.() === 0;
  }
}

/**
 * Whether `trusted.*` attributes can be read: to anybody else they are not there (xattr(7),
 * "Trusted extended attributes").
 */
export function readsTrustedXattrs(): boolean {
  return hasSysAdmin() && !inUserNamespace();
}

/** Whether what this process shows as set-id root, or as a device, is so for the whole machine. */
export function actsForMachine(): boolean {
  return (process.geteuid?.() === 0 || hasSysAdmin()) && !inUserNamespace();
}
