/** Calls of node:fs that fail, as on a disk that does, in the middle of what this process does. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

type Call = (...words: unknown[]) => unknown;

const pathOf = fs.readlinkSync;

/**
 * Does `work` while a call of that name fails with EIO, the first time that `fails` says so. Its
 * words are the call's; a descriptor comes as the path it is open at. Throws when none did.
 */
export async function whileFailing<T>(
  name: 'fsyncSync' | 'openSync' | 'readlinkSync' | 'renameSync',
  fails: (...paths: readonly string[]) => boolean,
  work: () => Promise<T>,
): Promise<T> {
  const calls = fs as unknown as Record<string, Call>;
  const original = calls[name]!;
  let failed = false;
  calls[name] = function (this: unknown, ...words: unknown[]): unknown {
    const [first, ...others] = words;
    const paths = [
      typeof first === 'number' ? pathOf(`/proc/self/fd/${first}`) : String(first),
      ...others.map(String),
    ];
    if (failed || !fails(...paths)) return original.apply(this, words);
    failed = true;
    throw Object.assign(new Error(`EIO: i/o error, ${name}`), { code: 'EIO' });
  };
  syncBuiltinESMExports();
  try {
    return await work().finally(() => {
      if (!failed) throw new Error(`no call of ${name} was to fail`);
    });
  } finally {
    calls[name] = original;
    syncBuiltinESMExports();
  }
}
