/**
 * Getting a copy's data to the disk before the copy gets its name: after a crash the old file is
 * there or the new one, never a name without its data.
 *
 * fsync(2) does that anywhere, and makes the disk wait for a commit of its journal. Where names and
 * what describes a file go through one journal in order, it is enough that the data lies on the
 * device: a commit that holds the name also holds the size and the extents, which were entered
 * before, and flushes the device's cache before it counts. So it is on ext4 with a journal inside:
 * writeback of a page ends only when its extent has been entered as written (fs/ext4/page-io.c,
 * ext4_end_io_end), and a commit record is written with a flush before it (fs/jbd2/commit.c,
 * journal_submit_commit_record).
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { Awaitable } from '../base/awaitable.js';
import type { ByteString } from '../base/bytes.js';
import { check } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { StatField } from '../sys/syscalls.js';
import { field, newStatBuffer } from '../overlay/stat-buffer.js';

/**
 * Bytes that the main thread waits for: for less than a hop to another thread costs, where the
 * device is fast.
 */
const AT_ONCE = 1 << 20;
/**
 * Milliseconds. A device that takes longer is waited for on another thread, and asked again after
 * so many flushes.
 */
const SLOW = 2;
const RESPITE = 64;

/** f_type of statfs(2); ext2 and ext3 have it, too. */
const EXT4 = 0xef53;

export class CopyFlush {
  readonly #dataIsEnough: boolean;
  #elsewhere = 0;

  /** `dataIsEnough`: see `ordersNamesAfterData`. */
  constructor(dataIsEnough: boolean) {
    this.#dataIsEnough = dataIsEnough;
  }

  /**
   * `fd` holds all `bytes` of its data: the device is given them while the rest of the copy is
   * made. Throws `Errno`.
   */
  start(fd: number, bytes: number): void {
    if (this.#dataIsEnough && bytes <= AT_ONCE && this.#elsewhere === 0)
      check(sys.writeOut(fd, false), 'sync_file_range');
  }

  /** Until `fd`, which holds `bytes`, may get its name. Throws `Errno`. */
  flush(fd: number, bytes: number): Awaitable<void> {
    if (!this.#dataIsEnough)
      return sys.fsyncAsync(fd, false).then((result) => void check(result, 'fsync'));
    if (bytes > AT_ONCE || this.#elsewhere > 0) {
      if (this.#elsewhere > 0) this.#elsewhere--;
      return sys.writeOutAsync(fd).then((result) => void check(result, 'sync_file_range'));
    }
    const started = performance.now();
    const result = sys.writeOut(fd, true);
    if (performance.now() - started > SLOW) this.#elsewhere = RESPITE;
    check(result, 'sync_file_range');
  }
}

/**
 * Whether on the file system of `fd` a name that is given after the data was written out is never
 * there without it.
 */
export function ordersNamesAfterData(fd: number): boolean {
  const usage = new Float64Array(10);
  if (sys.fstatfs(fd, usage) < 0 || usage[0] !== EXT4) return false;
  const stat = newStatBuffer();
  if (sys.statx(fd, '' as ByteString, stat, 0) < 0) return false;
  try {
    const device = `${field(stat, 0, StatField.DevMajor)}:${field(stat, 0, StatField.DevMinor)}`;
    const name = basename(readlinkSync(`/sys/dev/block/${device}`));
    // A journal that is a file of the same file system is called after both; a device of its own is
    // called after that alone.
    return readdirSync('/proc/fs/jbd2').some(
      (journal) => journal.startsWith(`${name}-`) && /^\d+$/.test(journal.slice(name.length + 1)),
    );
  } catch {
    return false;
  }
}
