/**
 * Making room for a mount whose upper directory an abandoned one still holds (abandoned-mount.ts).
 */
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { bytesOf, textOf, type ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { runtimeDirectory } from '../host/runtime-directory.js';
import { AT_FDCWD, LOCK_EX, LOCK_NB, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { UPPER } from '../overlay/layer.js';
import { askAt } from './control-client.js';

/**
 * Has an abandoned mount of this user's that writes to `upper` end. Who mounts next waits for its
 * workdir, as for any that is ending.
 */
export async function endAbandoned(upper: {
  readonly path: ByteString;
  readonly work: ByteString;
}): Promise<void> {
  if (!isLocked(upper.work)) return;
  const path = bytesOf(resolve(textOf(upper.path)));
  for (const socket of socketsHere()) {
    const asked = await askAt(socket, 'stack');
    asked?.socket.destroy();
    if (asked?.stack.layers.some((layer) => layer.index === UPPER && layer.path === path) !== true)
      continue;
    const told = await askAt(socket, 'leave');
    told?.socket.destroy();
  }
}

function socketsHere(): string[] {
  try {
    const directory = runtimeDirectory();
    return readdirSync(directory).flatMap((name) =>
      name.startsWith('mount-') ? [join(directory, name)] : [],
    );
  } catch {
    return [];
  }
}

/** By flock(2), as src/union/workdir.ts does. */
function isLocked(work: ByteString): boolean {
  const fd = sys.openat(AT_FDCWD, work, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return false;
  const result = sys.flock(fd, LOCK_EX | LOCK_NB);
  sys.close(fd);
  return result === -E.EWOULDBLOCK;
}
