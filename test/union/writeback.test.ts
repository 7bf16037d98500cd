/**
 * Where writes end that lie beyond what the upper's file system stores: at once, or with
 * `-o writeback` when the kernel hands them on.
 */
import t from 'tap';
import { O_CREAT, O_RDWR } from '../suites/constants.js';
import { onUnion } from './with-union.js';

/** Beyond the largest file of ext4 (16 TiB), and within what Linux takes for a file's offset. */
const FAR = 2 ** 62;

t.setTimeout(120_000);

for (const writeback of [false, true]) {
  await onUnion(
    t,
    writeback ? 'collected writes' : 'writes',
    { options: writeback ? ['writeback'] : [] },
    async (s) => {
      await s.lay('lower1', { lower: 'x' });
      await s.mount();
      const beside = await s.disk.open('beside', O_RDWR | O_CREAT);
      const stored = await s.disk.write(beside, 'x', FAR).then(
        () => true,
        () => false,
      );
      if (stored) {
        s.t.comment('the file system of this directory stores files of any length');
        return;
      }
      await s.fails('EFBIG', s.disk.write(beside, 'x', FAR), 'on the disk itself');
      for (const name of ['lower', 'new']) {
        const fd = await s.mnt.open(name, O_RDWR | O_CREAT);
        if (writeback) {
          // Linux takes it into its page cache, whose bound for FUSE is its own (fs/fuse/inode.c,
          // s_maxbytes).
          await s.mnt.write(fd, 'x', FAR);
          await s.fails('EFBIG', s.mnt.fsync(fd), `${name}: fsync says so`);
          await s.mnt.write(fd, 'x', FAR);
          await s.fails('EIO', s.mnt.close(fd), `${name}: close without fsync does as well`);
        } else {
          await s.fails('EFBIG', s.mnt.write(fd, 'x', FAR), `${name}: at once`);
          await s.mnt.close(fd);
        }
      }
    },
  );
}
