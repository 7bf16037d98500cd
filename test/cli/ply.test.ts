import { join } from 'node:path';
import t from 'tap';
import { run } from '../support/command.js';
import { root } from '../support/root.js';

const ply = (...words: string[]) => run([join(root, 'bin/ply'), ...words]);

t.test('--version and --help', async (t) => {
  t.match(await ply('--version'), { status: 0, stdout: /^ply \d+\.\d+\.\d+\n$/, stderr: '' });
  t.match(await ply('--help'), { status: 0, stdout: /^usage: ply COMMAND.*\bmounts\b.*\bumount\b/s, stderr: '' });
  t.match(await ply('umount', '--help'), { status: 0, stdout: /^usage: ply umount/ });
});

t.test('words it does not know are refused with status 2', async (t) => {
  t.match(await ply(), { status: 2, stdout: '', stderr: /^ply: [^\n]+\n$/ });
  t.match(await ply('nonsense'), { status: 2, stdout: '', stderr: /^ply: There is no command 'nonsense'[^\n]*\n$/ });
  t.match(await ply('constructor'), { status: 2 });
  t.match(await ply('mounts', 'x'), { status: 2 });
  t.match(await ply('umount'), { status: 2 });
  t.match(await ply('umount', 'a', 'b'), { status: 2 });
  t.match(await ply('umount', '-x', 'a'), { status: 2, stderr: /'-x'/ });
});

t.test('umount of a directory where plyfs has mounted nothing', async (t) => {
  t.match(await ply('umount', '/'), { status: 1, stderr: /^ply: \/ is not a mount point of plyfs/ });
  t.match(await ply('umount', '/no/such/place'), { status: 1, stderr: /^ply: \/no\/such\/place is not a mount point/ });
});
