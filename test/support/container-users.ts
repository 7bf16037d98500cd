/**
 * Who runs containers in tests: root, an ordinary user who has one id, and one with a range of
 * subordinate ids.
 */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { run, type Outcome } from './command.js';
import { temporaryDirectory } from './mounts.js';
import { plyProgram } from './ply.js';
import { asNobody, copyProgram, isRoot, NOBODY, openFuseDevice } from './users.js';

export interface ContainerUser {
  readonly name: string;
  /** Whose files what they make is. */
  readonly uid: number;
  readonly directory: string;
  readonly dataRoot: string;
  /** Words that run ply on the data root. */
  readonly words: readonly string[];
  ply(...words: string[]): Promise<Outcome>;
  /** The same in the mount namespace of the test, without a range. */
  here(...words: string[]): Promise<Outcome>;
}

/** First id of the range, and how many. */
export const RANGE = [300000, 65536] as const;

/** For whoever runs the test. As root: for root, and for `nobody` with and without a range. */
export async function containerUsers(t: Test): Promise<ContainerUser[]> {
  const directory = await temporaryDirectory(t);
  chmodSync(directory, 0o755);
  const user = (
    name: string,
    uid: number,
    namespace: readonly string[],
    prefix: readonly string[],
    program: string,
  ): ContainerUser => {
    const own = join(directory, name);
    mkdirSync(own);
    if (isRoot) chownSync(own, uid, uid);
    const dataRoot = join(own, 'root');
    const called = [
      ...prefix,
      'env',
      '-u',
      'XDG_RUNTIME_DIR',
      `TMPDIR=${own}`,
      `HOME=${own}`,
      program,
      '--root',
      dataRoot,
    ];
    const words = [...namespace, ...called];
    return {
      name,
      uid,
      directory: own,
      dataRoot,
      words,
      ply: (...more) => run([...words, ...more]),
      here: (...more) => run([...called, ...more]),
    };
  };
  if (!isRoot) return [user('ordinary', process.getuid?.() ?? 0, [], [], plyProgram)];
  openFuseDevice(t);
  const program = join(copyProgram(directory), 'bin/ply');
  const ranges = join(directory, 'subid-ranges');
  writeFileSync(ranges, `nobody:${RANGE.join(':')}\n`);
  const none = join(directory, 'subid-none');
  writeFileSync(none, '');
  // newuidmap(1) reads no other file; this one is seen by what is started here only.
  const granted = (file: string): string[] => [
    ...['unshare', '--mount', '--propagation', 'private', 'sh', '-c'],
    'mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec "$@"',
    file,
  ];
  return [
    user('root', 0, [], [], plyProgram),
    user('single', NOBODY, granted(none), asNobody, program),
    user('ranges', NOBODY, granted(ranges), asNobody, program),
  ];
}
