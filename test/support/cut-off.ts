/**
 * An operation cut off in the middle, as by a kill: after its Nth step that changes the disk none
 * of its calls changes anything any more. Whatever it does to clean up fails, therefore, as it
 * would not have been done.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { E } from '../../src/base/errno.js';
import { O_CREAT } from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';

class CutOff extends Error {}

/** Steps that are left; undefined: nothing is counted. */
let left: number | undefined;

type Call = (...words: unknown[]) => unknown;

/** `changes`: whether a call with these arguments changes the disk. */
function counted(
  original: Call,
  changes: (words: readonly unknown[]) => boolean,
  refuse: () => unknown,
): Call {
  return function (this: unknown, ...words: unknown[]): unknown {
    if (left === undefined || !changes(words)) return original.apply(this, words);
    if (left === 0) return refuse();
    left--;
    return original.apply(this, words);
  };
}

const always = (): boolean => true;
const refuseByThrow = (): never => {
  throw new CutOff();
};

function countAll(
  target: object,
  names: readonly string[],
  changes: (words: readonly unknown[]) => boolean,
  refuse: () => unknown,
): void {
  const calls = target as Record<string, Call>;
  for (const name of names) calls[name] = counted(calls[name]!, changes, refuse);
}

const ofNode =
  'mkdirSync chmodSync fchmodSync writeFileSync writeSync renameSync symlinkSync unlinkSync rmSync rmdirSync'.split(
    ' ',
  );
countAll(fs, ofNode, always, refuseByThrow);
countAll(fs, ['openSync'], ([, flags]) => flags === 'wx', refuseByThrow);
syncBuiltinESMExports();

const refuse = (): number => -E.EIO;
const ofSys =
  'mkdirat mknodat symlinkat linkat unlinkat renameat2 setxattrat fchmodat fchownat utimensat ftruncate copyData'.split(
    ' ',
  );
countAll(sys, ofSys, always, refuse);
countAll(sys, ['openat'], ([, , flags]) => ((flags as number) & O_CREAT) !== 0, refuse);

/**
 * Whether the operation was cut off, rather than came through with its steps. It fails in some way
 * when it was.
 */
export async function cutOffAfter(
  steps: number,
  operation: () => Promise<unknown>,
): Promise<boolean> {
  left = steps;
  try {
    await operation();
    return false;
  } catch (error) {
    if (left > 0) throw error;
    return true;
  } finally {
    left = undefined;
  }
}
