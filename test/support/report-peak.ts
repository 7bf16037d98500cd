/**
 * Loaded before a program: writes its peak of memory, in kilobytes, to the file that
 * PLYFS_TEST_PEAK names when it ends. VmHWM, because ru_maxrss counts what the process was before
 * execve(2), too: a copy of who started it.
 */
import { readFileSync, writeFileSync } from 'node:fs';

process.on('exit', () => {
  const [, peak] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))!;
  writeFileSync(process.env['PLYFS_TEST_PEAK']!, peak!);
});
