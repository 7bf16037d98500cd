/**
 * How far the kernel reads ahead in a mount's files.
 *
 * It begins with 128 KiB, and a reader of cached data waits longer for each answer than the data
 * takes to copy. The handshake can lower that but not raise it; a setting of the mounted file
 * system does, for root (mm/backing-dev.c, read_ahead_kb).
 */
import { writeFileSync } from 'node:fs';
import type { ByteString } from '../base/bytes.js';
import { mountAt } from '../host/mount-table.js';

/** KiB. */
const READ_AHEAD = 512;

/**
 * After the handshake, which would cut it down again. Where it may not be raised, the kernel's own
 * value stays.
 */
export function raiseReadAhead(mountpoint: ByteString): void {
  const entry = mountAt(mountpoint);
  if (entry === undefined || !entry.type.startsWith('fuse')) return;
  try {
    writeFileSync(`/sys/class/bdi/${entry.device}/read_ahead_kb`, String(READ_AHEAD));
  } catch {
    // Not root, or /sys is read-only, as in containers.
  }
}
