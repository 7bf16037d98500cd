/**
 * Where mounts without a place of their own go: outside every data root, because dockerd unmounts
 * what it finds below its own.
 */
import { mkdirSync, mkdtempSync, lstatSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PlyfsError } from '../base/error.js';
import { inUserNamespace } from '../sys/privilege.js';

const uid = process.geteuid?.() ?? 0;

/** A new empty directory to mount at. */
export function newMountpoint(): string {
  return mkdtempSync(join(runtimeDirectory(), 'mnt-'));
}

/** A directory that is empty and stays so: a union's lowest layer where it needs one more. */
export function emptyDirectory(): string {
  return ownDirectory(join(runtimeDirectory(), 'empty'));
}

/** Empty to all but mount namespaces of their own, in which a container's root is mounted there. */
export function sandboxDirectory(): string {
  return ownDirectory(join(runtimeDirectory(), 'sandbox'));
}

export function isRuntimeDirectory(path: string): boolean {
  return path === runtimeDirectory();
}

/** Where it may be of any user's processes, as far as this one can tell. */
export function runtimeDirectoriesOf(user: number): string[] {
  const own = user === uid ? candidates() : [user === 0 ? '/run/plyfs' : `/run/user/${user}/plyfs`];
  return [...own, fallback(user === uid ? userOutside() : user)];
}

/** Private to this user. Throws `runtime-directory-unusable`. */
export function runtimeDirectory(): string {
  for (const candidate of candidates()) {
    try {
      return ownDirectory(candidate);
    } catch {
      // Not on this machine.
    }
  }
  return ownDirectory(fallback(userOutside()));
}

function candidates(): string[] {
  if (uid === 0 && !inUserNamespace()) return ['/run/plyfs'];
  const session = process.env['XDG_RUNTIME_DIR'];
  return session === undefined ? [] : [join(session, 'plyfs')];
}

/**
 * This user as the machine knows it, so that namespaces of several users have places of their own
 * (user_namespaces(7), uid_map).
 */
function userOutside(): number {
  try {
    for (const line of readFileSync('/proc/self/uid_map', 'latin1').trim().split('\n')) {
      const [inside = 0, outside = 0, length = 0] = line.trim().split(/\s+/).map(Number);
      if (uid >= inside && uid < inside + length) return outside + (uid - inside);
    }
  } catch {
    // A kernel without user namespaces.
  }
  return uid;
}

function fallback(user: number): string {
  return join(tmpdir(), `plyfs-${user}`);
}

/** Another user may have made a directory of that name where everybody can. */
function ownDirectory(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const stat = lstatSync(path);
  if (stat.isDirectory() && stat.uid === uid) return path;
  throw new PlyfsError(
    'runtime-directory-unusable',
    `${path} is not a directory of this user: remove it, or set TMPDIR or XDG_RUNTIME_DIR to a directory of your own.`,
  );
}
