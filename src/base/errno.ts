/**
 * System-call errors.
 *
 * File-system paths speak errno: a function that can fail throws `Errno`, and the
 * transport turns it into the number the kernel expects. Everything else in the
 * project throws `PlyfsError` (see error.ts).
 */
import { constants } from 'node:os';

/** Linux errno values by name, as positive numbers. */
export const E = {
  ...constants.errno,
  ENODATA: 61,
  EOPNOTSUPP: 95,
  ENOTSUPP: 524,
  ESTALE: 116,
  EUCLEAN: 117,
} as const;

const names = new Map<number, string>(
  Object.entries(constants.errno).map(([name, value]) => [value, name]),
);
names.set(E.EOPNOTSUPP, 'EOPNOTSUPP');
names.set(E.EUCLEAN, 'EUCLEAN');

/** The symbolic name of a positive errno, or `errno N` when Linux gives it none. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

/** A failed system call, or a failure that a caller must see as one. `errno` is positive. */
export class Errno extends Error {
  readonly errno: number;

  constructor(errno: number, what?: string) {
    // Errors that a program provokes all day (EEXIST, ENOTEMPTY, EXDEV) must stay cheap:
    // a stack trace costs more than the system call that failed.
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(what === undefined ? errnoName(errno) : `${errnoName(errno)}: ${what}`);
    Error.stackTraceLimit = limit;
    this.name = 'Errno';
    this.errno = errno;
  }
}

/** Passes a system call's non-negative result through; throws `Errno` for `-errno`. */
export function check(result: number, what?: string): number {
  if (result < 0) throw new Errno(-result, what);
  return result;
}
