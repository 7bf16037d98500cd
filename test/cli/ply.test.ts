import t from 'tap';
import { commands } from '../../src/cli/commands/index.js';
import { ply } from '../support/ply.js';

t.test('--version and --help', async (t) => {
  t.match(await ply('--version'), { status: 0, stdout: /^ply \d+\.\d+\.\d+\n$/, stderr: '' });
  t.match(await ply('--help'), {
    status: 0,
    stdout: /^Usage: ply \[OPTIONS\] COMMAND.*\bload\b.*\bumount\b.*\bmounts\b/s,
    stderr: '',
  });
  t.match(await ply('umount', '--help'), {
    status: 0,
    stdout: /^Usage: ply umount \[options\] <DIR\|NAME>/,
  });
});

t.test('every command has help', async (t) => {
  for (const { name, group } of commands) {
    if (group !== 'Hidden')
      t.match(
        await ply(name, '--help'),
        { status: 0, stdout: new RegExp(`^Usage: ply ${name}\\b`), stderr: '' },
        name,
      );
  }
});

t.test('global options stand before the command or after it', async (t) => {
  t.match(await ply('--json', 'version'), { status: 0, stdout: /^{\n  "ply": "/ });
  t.match(await ply('version', '--json'), { status: 0, stdout: /^{\n  "ply": "/ });
  t.match(await ply('--root', '/no/such/root', 'images'), {
    status: 1,
    stderr: /\/no\/such\/root/,
  });
  t.match(await ply('images', '--root=/no/such/root'), { status: 1, stderr: /\/no\/such\/root/ });
  t.match(await ply('--mounter', 'smoke', 'images'), {
    status: 2,
    stderr: /^ply: [^\n]*smoke[^\n]*\n$/,
  });
  t.match(await ply('--storage-driver', 'devicemapper', 'images', '--root', '/'), {
    status: 1,
    stderr: /devicemapper has been removed/,
  });
});

t.test('words it does not know are refused with status 2', async (t) => {
  t.match(await ply(), { status: 2, stdout: '', stderr: /^ply: [^\n]+\n$/ });
  t.match(await ply('nonsense'), {
    status: 2,
    stdout: '',
    stderr: /^ply: There is no command 'nonsense'[^\n]*\n$/,
  });
  t.match(await ply('constructor'), { status: 2 });
  t.match(await ply('mounts', '--al'), { status: 2, stderr: /did you mean --all/ });
  t.match(await ply('mounts', 'x'), { status: 2 });
  t.match(await ply('umount'), { status: 2 });
  t.match(await ply('umount', 'a', 'b'), { status: 2 });
  t.match(await ply('umount', '-x', 'a'), { status: 2, stderr: /'-x'/ });
});

t.test('umount of a directory where plyfs has mounted nothing', async (t) => {
  t.match(await ply('umount', '/'), {
    status: 1,
    stderr: /^ply: \/ is not a mount point of plyfs/,
  });
  t.match(await ply('umount', '/no/such/place'), {
    status: 1,
    stderr: /^ply: \/no\/such\/place is not a mount point/,
  });
});
