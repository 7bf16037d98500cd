/**
 * The process that serves a mount of plyfs: the sockets at which it listens, and its end.
 *
 * umount(2) returns before that process has noticed: it still holds the directories of the layers
 * then, and their file systems are busy. A connection to its socket is closed when it has ended.
 */
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { ByteString } from '../base/bytes.js';
import { unmountForeign } from './fuse-unmount.js';
import { mountAt, userOf, type MountEntry } from './mount-table.js';
import { runtimeDirectoriesOf } from './runtime-directory.js';

/** The type of a mount in the mount table. */
export const FUSE_TYPE = 'fuse.plyfs';

/**
 * Milliseconds. A process that goes on longer serves the mount in another mount namespace, or
 * writes back what is dirty.
 */
const PATIENCE = 2000;
/**
 * One process listens for a mount; who owns the directory could put any number of sockets there.
 */
const MOST_SOCKETS = 8;

/** How names of sockets of the mount with this device number begin. */
export function socketPrefix(device: string): string {
  return `mount-${device}-`;
}

/** Paths at which its process may listen: those of a process that was killed stay behind. */
export function socketsOf(mount: MountEntry): string[] {
  const users = new Set([process.geteuid?.() ?? 0, userOf(mount) ?? 0]);
  return [...users].flatMap(runtimeDirectoriesOf).flatMap((directory) => {
    try {
      const names = readdirSync(directory).filter((name) =>
        name.startsWith(socketPrefix(mount.device)),
      );
      return names.map((name) => join(directory, name));
    } catch {
      return [];
    }
  });
}

/**
 * Takes a mount out of the tree and, unless `lazy`, waits until its process has let go of the
 * layers. Resolves to what `unmountForeign` does.
 */
export async function unmountServed(mountpoint: ByteString, lazy: boolean): Promise<number> {
  const mount = lazy ? undefined : mountAt(mountpoint);
  const answered =
    mount?.type === FUSE_TYPE
      ? await Promise.all(socketsOf(mount).slice(0, MOST_SOCKETS).map(connected))
      : [];
  const connections = answered.filter((socket) => socket !== undefined);
  const ends = connections.map(ended);
  try {
    const result = await unmountForeign(mountpoint, lazy);
    if (result >= 0)
      await Promise.race([Promise.all(ends), setTimeout(PATIENCE, undefined, { ref: false })]);
    return result;
  } finally {
    for (const socket of connections) socket.destroy();
  }
}

/**
 * The end of a process may be told as a broken connection (ECONNRESET), by which `once` would
 * reject.
 */
function ended(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => {
      resolve();
    });
  });
}

/** Undefined: nobody listens there. */
async function connected(path: string): Promise<Socket | undefined> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
  } catch {
    return undefined;
  }
  // What it says does not matter.
  socket.on('error', () => undefined).resume();
  return socket;
}
