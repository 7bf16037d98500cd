/** A lower layer with every file type and attribute that a copy-up must keep. */
import { S_IFIFO, S_IFSOCK } from '../constants.js';
import type { UnionScene } from './scene.js';

export async function asLowerTree(s: UnionScene): Promise<void> {
  await s.lay('lower1', {
    file: 'content\n',
    'dir/file': 'x'.repeat(100_000),
    'closed/deep/file': 'deep',
    'empty/': '',
    link: '->dir/file',
  });
  await s.disk.mknod('lower1/fifo', S_IFIFO | 0o622);
  await s.disk.mknod('lower1/socket', S_IFSOCK | 0o755);
  const root = process.getuid?.() === 0;
  for (const path of ['file', 'dir', 'dir/file', 'closed/deep/file']) {
    await s.disk.setxattr(`lower1/${path}`, 'user.note', `of ${path}`);
    if (root) await s.disk.setxattr(`lower1/${path}`, 'trusted.note', `of ${path}`);
  }
  if (root) {
    await s.disk.lchown('lower1/file', 1000, 2000);
    await s.disk.lchown('lower1/link', 1001, 2001);
    await s.disk.lchown('lower1/dir', 1002, 2002);
  }
  await s.disk.chmod('lower1/file', 0o4750);
  await s.disk.chmod('lower1/dir', 0o2775);
  await s.disk.chmod('lower1/closed/deep', 0o711);
  await s.disk.chmod('lower1/closed', 0o700);
  const paths = [
    'file',
    'dir/file',
    'closed/deep/file',
    'closed/deep',
    'link',
    'fifo',
    'socket',
    'empty',
    'dir',
    'closed',
    '',
  ];
  for (const [i, path] of paths.entries())
    await s.disk.utimens(
      `lower1/${path}`,
      [1_000_000 + i, 111 + i],
      [2_000_000 + i, 222_222_222 + i],
    );
}
