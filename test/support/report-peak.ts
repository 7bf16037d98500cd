/** Loaded before a program: writes its peak of memory, in kilobytes, to the file that PLYFS_TEST_PEAK names when it ends. */
import { writeFileSync } from 'node:fs';

process.on('exit', () => {
  writeFileSync(process.env['PLYFS_TEST_PEAK']!, String(process.resourceUsage().maxRSS));
});
