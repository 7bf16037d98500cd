/** Reading the doubles that statx(2) left in a stat buffer (src/sys/syscalls.ts). */
import { StatField, STAT_FIELDS } from '../sys/syscalls.js';

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;
export const S_IFIFO = 0o010000;
export const S_IFSOCK = 0o140000;

/** A buffer for `count` files. */
export function newStatBuffer(count = 1): Float64Array {
  return new Float64Array(count * STAT_FIELDS);
}

export function field(stat: Float64Array, index: number, which: StatField): number {
  return stat[index * STAT_FIELDS + which] as number;
}

/** S_IFDIR, S_IFREG, … */
export function fileType(stat: Float64Array, index: number): number {
  return field(stat, index, StatField.Mode) & S_IFMT;
}

/** The DT_* value of a mode, as readdir(3) reports it. */
export function direntType(mode: number): number {
  return (mode & S_IFMT) >> 12;
}

/**
 * A character device 0:0 stands for a deleted name (overlayfs.rst, "whiteouts and opaque
 * directories").
 */
export function isWhiteoutDevice(stat: Float64Array, index: number): boolean {
  return (
    fileType(stat, index) === S_IFCHR &&
    field(stat, index, StatField.RdevMajor) === 0 &&
    field(stat, index, StatField.RdevMinor) === 0
  );
}
