/**
 * A lower whose files have equal inode numbers and are not the same: `dir1` and `dir2` lie on two
 * devices, or on one that hands on the numbers of two. Suites are functions of the lower; each of
 * its directories has been given the same files in the same order.
 */
import { readFile } from 'node:fs/promises';
import type { Test } from 'tap';
import { succeed } from '../support/command.js';
import { kernel, programUnderTest } from './mounters.js';

/**
 * Gives each of the two directories `$1` and `$2` its files: one with two names, and a directory
 * with a file.
 */
export const fillScript = `
fill() {
  echo "of $2" >"$1/f"
  ln "$1/f" "$1/g"
  mkdir "$1/sub"
  echo "below $2" >"$1/sub/deep"
}
fill "$1" dir1
fill "$2" dir2
`;

/**
 * In \`$1\`, which has upper, work, mnt: the lower \`$2\` mounted by the program \`$3\`, looked at,
 * changed, copied, and mounted again.
 */
const look = `
cd "$1"
lower=$2
plyfs=$3
files='dir1 dir2 dir1/f dir1/g dir1/sub dir1/sub/deep dir2/f dir2/g dir2/sub dir2/sub/deep'
show() {
  for path in $files; do
    echo "$1 number $path $(stat -c %i mnt/$path)"
    test -d mnt/$path || echo "$1 content $path $(cat mnt/$path)"
  done
}
for path in $files; do echo "lower number $path $(stat -c %i "$lower/$path")"; done
"$plyfs" -o "lowerdir=$lower,upperdir=upper,workdir=work" mnt
# Before anything was looked up, then with the names known.
for time in listed again; do
  for directory in . dir1 dir2 dir1/sub dir2/sub; do
    ls -1i mnt/$directory | while read number name; do echo "$time number \${directory#.}/$name $number" | sed 's, number /, number ,'; done
  done
  test $time = again || show fresh
done
find mnt -path mnt/same -prune -o -print | sort | while read path; do echo "found there $path -"; done
cp -a mnt copy
(cd mnt && find dir1 dir2 -type f) | while read path; do cmp "mnt/$path" "copy/$path"; done
echo "copied links f $(stat -c %i copy/dir1/f copy/dir1/g copy/dir2/f copy/dir2/g | sort | uniq -c | sed 's/^ *//;s/ .*//' | tr '\\n' '-')"
echo "added to dir2" >>mnt/dir2/f
echo "added to dir1" >>mnt/dir1/sub/deep
show changed
umount mnt
"$plyfs" -o "lowerdir=$lower,upperdir=upper,workdir=work" mnt
show remounted
umount mnt
`;

interface Expected {
  /** The two names of a file are known to be one. */
  readonly merged: boolean;
  /** Two files have one number in the lower. */
  readonly clash: boolean;
  /**
   * Every number is the same after a remount, but that of the file with two names that was changed.
   */
  readonly lasting: boolean;
  /** The kernel's overlay takes the lower too, and shows the same. */
  readonly oracle: boolean;
  /** Words before the shell that looks. */
  readonly within?: readonly string[];
}

/** By phase and kind: a value for each path. */
function parse(said: string): (phase: string, kind: string) => Map<string, string> {
  const lines = said.split('\n').flatMap((line) => {
    const [, phase, kind, path, value] = /^(\S+) (\S+) (\S+) (.*)$/.exec(line) ?? [];
    return phase === undefined
      ? []
      : [{ phase, kind, path: path as string, value: value as string }];
  });
  return (phase, kind) =>
    new Map(
      lines
        .filter((l) => l.phase === phase && l.kind === kind)
        .map(({ path, value }) => [path, value]),
    );
}

/** `base`: of `workspace`, with the directories upper, work and mnt. */
export async function severalDevices(
  t: Test,
  base: string,
  lower: string,
  expected: Expected,
): Promise<void> {
  const script = ['sh', '-euc', look, 'sh', base, lower, programUnderTest()];
  const of = parse(await succeed([...(expected.within ?? []), ...script]));
  const [own, fresh] = [of('lower', 'number'), of('fresh', 'number')];
  if (expected.clash)
    t.equal(own.get('dir1/f'), own.get('dir2/f'), 'two files have one number in the lower');

  const content = of('fresh', 'content');
  if (expected.oracle) {
    await succeed(['mkdir', `${base}/kernel-upper`, `${base}/kernel-work`]);
    await kernel.mount(
      { lowers: [lower], upper: `${base}/kernel-upper`, work: `${base}/kernel-work` },
      `${base}/mnt`,
    );
    for (const [path, text] of content)
      t.equal(
        await readFile(`${base}/mnt/${path}`, 'utf8'),
        `${text}\n`,
        `the kernel shows the same in ${path}`,
      );
    await succeed(['umount', `${base}/mnt`]);
  }
  for (const dir of ['dir1', 'dir2']) {
    for (const name of ['f', 'g'])
      t.equal(content.get(`${dir}/${name}`), `of ${dir}`, `${dir}/${name} shows its own content`);
    t.equal(content.get(`${dir}/sub/deep`), `below ${dir}`);
  }
  const files = expected.merged ? fresh.size - 2 : fresh.size;
  t.equal(new Set(fresh.values()).size, files, 'each file has a number of its own');
  for (const dir of ['dir1', 'dir2']) {
    if (expected.merged)
      t.equal(fresh.get(`${dir}/f`), fresh.get(`${dir}/g`), `${dir}: two names are one file`);
  }
  for (const time of expected.clash && !expected.lasting ? ['again'] : ['listed', 'again']) {
    const listed = of(time, 'number');
    for (const [path, number] of fresh)
      t.equal(listed.get(path), number, `${path}: d_ino is st_ino (${time})`);
  }
  const there = [...of('found', 'there').keys()];
  for (const path of fresh.keys()) t.ok(there.includes(`mnt/${path}`), `find goes to ${path}`);
  t.equal(
    of('copied', 'links').get('f'),
    expected.merged ? '2-2-' : '1-1-1-1-',
    'cp -a links what is one file, and nothing else',
  );

  for (const phase of ['changed', 'remounted']) {
    const after = of(phase, 'content');
    t.equal(
      after.get('dir1/f'),
      'of dir1',
      `${phase}: what was written to the other does not show`,
    );
    t.equal(after.get('dir1/g'), 'of dir1');
    t.equal(after.get('dir2/sub/deep'), 'below dir2');
    for (const [path, number] of of(phase, 'number')) {
      if (phase === 'changed' || (expected.lasting && !/^dir2\/[fg]$/.test(path)))
        t.equal(number, fresh.get(path), `${phase}: ${path} keeps its number`);
    }
  }
}
