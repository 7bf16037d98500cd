/**
 * A directory for tests that make tens of thousands of names: on a file system in memory where
 * there is one, removed when the test ends.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Test } from 'tap';

export function memoryDirectory(t: Test): string {
  const directory = mkdtempSync(`${inMemory() ?? tmpdir()}/plyfs-test-`);
  t.teardown(() => {
    // rm(1) walks with descriptors: paths longer than PATH_MAX do not stop it.
    execFileSync('rm', ['-rf', directory]);
  });
  return directory;
}

function inMemory(): string | undefined {
  try {
    accessSync('/dev/shm', constants.W_OK);
    return '/dev/shm';
  } catch {
    return undefined;
  }
}
