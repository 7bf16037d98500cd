/**
 * stress-ng's stressors of files and directories, with `--verify`: they make the odd calls that
 * suites forget, several processes at once, and check what they get. A run of one is bounded by
 * seconds, not by what it does.
 */
import { readdir } from 'node:fs/promises';
import type { Test } from 'tap';
import { run } from '../../support/command.js';
import { Union, type Mounter } from '../mounters.js';
import { figure, givesBack, WatchedPlyfs } from './watched.js';

/**
 * Of the classes filesystem, io and os (`stress-ng --class filesystem?`): those that work below
 * `--temp-path`.
 */
const stressors: readonly string[] = (
  'access aio aiol chattr chdir chmod chown chroot copy-file dentry dir dirdeep dirmany dnotify exec fallocate fanotify fault fcntl ' +
  'file-ioctl filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify io-uring iomix lease link locka lockf lockofd madvise mknod ' +
  'mmap msync msyncmany open quota readahead rename revio rlimit rmap seek sendfile symlink sync-file touch utime verity xattr'
).split(' ');

/** Stressors of these classes that are not run, and why. */
const notRun: Readonly<Record<string, string>> = {
  fiemap:
    'FS_IOC_FIEMAP is answered by file systems in the kernel; FUSE has no request for it (fs/ioctl.c, ioctl_fiemap)',
  loop: "attaches loop devices, which are the whole machine's",
  'bind-mount binderfs dup eventfd io ioprio procfs': 'use no file below --temp-path',
};

/**
 * Those that fail or skip themselves on the kernel overlay, too: tried there each time, and wanted
 * here when they pass there.
 */
const notOnTheKernelEither: ReadonlySet<string> = new Set([
  'exec',
  'inode-flags',
  'io-uring',
  'quota',
  'verity',
]);

/** What some need in addition, lest they fill the disk or spare the mount. */
const further: Readonly<Record<string, readonly string[]>> = {
  mmap: ['--mmap-file', '--mmap-bytes', '4m'],
  hdd: ['--hdd-bytes', '16m'],
  iomix: ['--iomix-bytes', '16m'],
  'copy-file': ['--copy-file-bytes', '128m'],
  fallocate: ['--fallocate-bytes', '16m'],
  'sync-file': ['--sync-file-bytes', '4m'],
  readahead: ['--readahead-bytes', '16m'],
  seek: ['--seek-size', '16m'],
  revio: ['--revio-bytes', '16m'],
  aiol: ['--aiol-requests', '16'],
  // Without a number it stops when others take inodes of the same disk, at times before it begins,
  // on the kernel overlay too.
  dirdeep: ['--dirdeep-inodes', '1000000'],
};

interface Verdict {
  /** Undefined: it found nothing wrong. */
  readonly wrong: string | undefined;
  readonly operations: number;
}

async function stress(directory: string, stressor: string, seconds: number): Promise<Verdict> {
  const words = [
    `--${stressor}`,
    '2',
    ...(further[stressor] ?? []),
    '--timeout',
    `${seconds}s`,
    '--verify',
    '--metrics',
    '--temp-path',
    directory,
  ];
  const { status, signal, stdout, stderr } = await run(['stress-ng', ...words]);
  const said = stdout + stderr;
  const wrong = said
    .split('\n')
    .filter((line) => /fail:|error:|skipping|skipped: [1-9]|unsuccessful|aborted early/.test(line));
  const operations = Number(new RegExp(`metrc: .*\\] ${stressor} +(\\d+) `).exec(said)?.[1] ?? 0);
  if (status === 0 && signal === null && wrong.length === 0)
    return { wrong: undefined, operations };
  return { wrong: wrong.join('\n') || `exit status ${status ?? signal}: ${said}`, operations };
}

/** A busy machine may not let it finish one operation in the time: then with more of it. */
async function stressAtAll(directory: string, stressor: string, seconds: number): Promise<Verdict> {
  let verdict: Verdict = { wrong: 'not run', operations: 0 };
  for (const factor of notOnTheKernelEither.has(stressor) ? [1] : [1, 5, 25]) {
    verdict = await stress(directory, stressor, seconds * factor);
    if (verdict.wrong !== undefined || verdict.operations > 0) return verdict;
  }
  return { wrong: 'it finished no operation', operations: 0 };
}

/** One subtest a stressor, all on one mount, for `seconds` each. */
export async function stressed(
  t: Test,
  mounter: Mounter,
  oracle: Mounter | undefined,
  seconds: number,
): Promise<void> {
  for (const [names, reason] of Object.entries(notRun)) t.comment(`not run: ${names}: ${reason}`);
  const union = await Union.create(t, mounter, 1);
  await union.mount();
  let passed = 0;
  let operations = 0;
  await givesBack(t, mounter, async () => {
    for (const stressor of stressors) {
      await t.test(stressor, async (t) => {
        const before = mounter instanceof WatchedPlyfs ? (await mounter.usage()).requests : 0;
        const verdict = await stressAtAll(union.mnt, stressor, seconds);
        operations += verdict.operations;
        if (
          verdict.wrong !== undefined &&
          notOnTheKernelEither.has(stressor) &&
          oracle !== undefined &&
          (await failsOn(t, oracle, stressor, seconds))
        ) {
          t.comment(
            `excluded: ${stressor} cannot pass on the kernel overlay either: ${verdict.wrong.split('\n')[0] ?? ''}`,
          );
          return;
        }
        t.equal(verdict.wrong, undefined, `${stressor}: ${verdict.operations} operations`);
        if (mounter instanceof WatchedPlyfs)
          t.ok((await mounter.usage()).requests > before, 'on this mount');
        t.same(
          (await readdir(union.mnt)).filter((name) => !name.startsWith('lost')),
          [],
          'everything it made is gone again',
        );
        passed++;
      });
    }
  });
  figure(
    t,
    mounter,
    `${passed} stressors of stress-ng passed with --verify, ${operations} operations`,
  );
  await union.unmount();
}

async function failsOn(
  t: Test,
  oracle: Mounter,
  stressor: string,
  seconds: number,
): Promise<boolean> {
  const union = await Union.create(t, oracle, 1);
  await union.mount();
  const { wrong } = await stressAtAll(union.mnt, stressor, seconds);
  await union.unmount();
  return wrong !== undefined;
}
