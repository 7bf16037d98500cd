/** Whether root here is root of the machine. */
import { readFileSync } from 'node:fs';

/** All ids mapped to themselves: what the initial user namespace says of itself (user_namespaces(7)). */
const identity = /^\s*0\s+0\s+4294967295\s*$/;

export function inUserNamespace(): boolean {
  try {
    return !identity.test(readFileSync('/proc/self/uid_map', 'latin1'));
  } catch {
    // A kernel without user namespaces.
    return false;
  }
}
