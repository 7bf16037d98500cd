/**
 * Immutable and append-only files, and the flags of files: each attempt ends as on the kernel's
 * overlay, and leaves the same.
 */
import { mkdirSync } from 'node:fs';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { mountExt4 } from '../support/disk-image.js';
import { figure } from '../support/figures.js';
import { isRoot } from '../support/users.js';
import { kernel, plyfs, unavailable, unmount, type Mounter } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';

const skip =
  (await unavailable(t, plyfs)) ??
  (await unavailable(t, kernel)) ??
  (isRoot ? false : 'chattr takes root');

const layer = `
for name in immutable append both plain synchronous; do echo content >$name; done
mkdir immutable-dir append-dir plain-dir; for dir in *-dir; do echo content >$dir/file; done
chattr +i immutable immutable-dir; chattr +a append append-dir; chattr +ai both; chattr +SA synchronous`;

const onFiles = [
  'rm -f F',
  'mv F elsewhere',
  'ln F elsewhere',
  'chmod 600 F',
  'chown 5 F',
  'touch F',
  'touch -d 2001-01-01 F',
  'setfattr -n user.x -v 1 F',
  'truncate -s 0 F',
  'echo x >F',
  'echo x >>F',
  'cat F',
  'mv plain F',
];
const onDirectories = [
  'touch D/new',
  'mkdir D/made',
  'rm -f D/file',
  'mv D/file D/other',
  'ln plain D/linked',
  'mv plain D/plain',
  'mv D/plain plain',
  'mv -T plain-dir D',
  'chmod 700 D',
  'echo x >>D/file',
  'mv D elsewhere',
  'rm -rf D',
  'ls D',
];
const changing = [
  'chattr +i plain',
  'echo x >>plain',
  'rm -f plain',
  'chattr -i plain',
  'echo y >>plain',
  'chattr +a plain',
  'echo z >>plain',
  'echo z >>plain',
  'dd if=/dev/zero of=plain bs=1 count=1 conv=notrunc',
  'cat plain',
  'chattr -i immutable',
  'echo x >>immutable',
  'rm immutable',
  'chattr -a append-dir',
  'rm -r append-dir',
  'chmod 600 synchronous',
  'chattr +A plain-dir/file',
  'chattr +i plain-dir',
  'touch plain-dir/new',
  'chattr +d both',
  'setpriv --reuid=65534 --clear-groups chattr +A plain-dir/file',
];
const attempts = [
  ...['immutable', 'append', 'both'].flatMap((file) =>
    onFiles.map((attempt) => attempt.replace('F', file)),
  ),
  ...['immutable-dir', 'append-dir'].flatMap((dir) =>
    onDirectories.map((attempt) => attempt.replaceAll('D', dir)),
  ),
  ...changing,
];
/** Flags of the file system's own (extents, verity …) are the copy's. */
const flags =
  "lsattr -d * */* 2>/dev/null | sed -E 's/^(\\S*) +/\\1 /' | tr -d 'eEIV'; lsattr -pd plain append | wc -l";
const afterwards = [
  'rm -f both',
  'touch plain-dir/new',
  'echo x >plain',
  'echo x >>plain',
  'cat plain',
  'dd if=/dev/zero of=plain bs=1 count=1 conv=notrunc',
  'cat plain',
  'rm -f append',
];

async function outcomes(commands: readonly string[], cwd: string): Promise<string> {
  const said: string[] = [];
  for (const command of commands) {
    const { status, stdout } = await run(['sh', '-c', command], { cwd });
    said.push(`${command}: ${status === 0 ? 'done' : 'refused'} ${stdout}`);
  }
  said.push(await succeed(['sh', '-c', flags], { cwd }));
  return said.join('\n');
}

await t.test('as on the kernel', { skip }, async (t) => {
  const disk = await workspace(t, 'disk');
  const missing = await mountExt4(`${disk}/image`, `${disk}/disk`, { mebibytes: 48 });
  if (missing !== undefined) {
    t.plan(0, missing);
    return;
  }
  t.teardown(() => run(['chattr', '-R', '-i', '-a', `${disk}/disk`]));
  const seen: string[][] = [];
  for (const [by, next] of [
    [kernel, kernel],
    [plyfs, plyfs],
    [kernel, plyfs],
    [plyfs, kernel],
  ] as const satisfies readonly (readonly [Mounter, Mounter])[]) {
    const base = `${disk}/disk/${seen.length}`;
    const [lower, upper, work, mnt] = ['lower', 'upper', 'work', 'mnt'].map(
      (name) => `${base}/${name}`,
    ) as [string, string, string, string];
    for (const dir of [base, lower, upper, work, mnt]) mkdirSync(dir);
    await succeed(['sh', '-ec', layer], { cwd: lower });
    await by.mount({ lowers: [lower], upper, work }, mnt);
    const first = await outcomes(attempts, mnt);
    await unmount(mnt);
    await next.mount({ lowers: [lower], upper, work }, mnt);
    const second = await outcomes(afterwards, mnt);
    await unmount(mnt);
    seen.push([first, second]);
  }
  const [wanted, ...others] = seen;
  t.match(
    wanted?.[0],
    /^rm -f immutable: refused $[^]*^echo x >>append: done $[^]*^----i\S* plain-dir$/m,
  );
  for (const other of others) t.same(other, wanted);
  figure(t, attempts.length + afterwards.length, 'attempts on protected files');
});
