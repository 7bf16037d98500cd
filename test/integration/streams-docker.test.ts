/** What goes through a container's standard streams, and how it ends there, beside docker. */
import t, { type Test } from 'tap';
import { run, type Outcome } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { figure } from '../support/figures.js';
import { temporaryDirectory } from '../support/mounts.js';
import { plyOn, plyProgram } from '../support/ply.js';
import { startDockerd } from '../support/private-dockerd.js';
import { isRoot } from '../support/users.js';

t.setTimeout(240_000);
const skip = !isRoot && 'dockerd takes root';

/**
 * A line for sh, in which `run` stands for the words that run a container of the image, removed at
 * its end; prints what is to be compared.
 */
const cases: readonly (readonly [what: string, line: string])[] = [
  ['binary data, both ways', `run -i image:1 cat <"$data" | sha256sum`],
  [
    'much output',
    `run image:1 sh -c 'i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done' | sha256sum`,
  ],
  ['the end of input', `printf 'a\\nb' | run -i image:1 sh -c 'cat; echo end'`],
  ['no input', `echo x | run image:1 sh -c 'cat; echo end'`],
  ['what no input is', `run image:1 stat -L -c '%F %t:%T' /proc/self/fd/0 </dev/null`],
  [
    'what streams are',
    `run -i image:1 stat -L -c %F /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 <"$data" >"$out" 2>&1; cat "$out"`,
  ],
  // Sorted: docker carries the two streams apart, and promises no order between them.
  ['opened anew', `run image:1 sh -c 'echo a >/dev/stdout; echo b >/dev/stderr' 2>&1 | sort`],
  [
    'a file that is added to',
    `echo old >"$out"; run image:1 sh -c 'echo new; echo again >/proc/self/fd/1' >>"$out"; cat "$out"`,
  ],
  ['input that is not read', `run -i image:1 sh -c 'exit 3' <"$data"; echo $?`],
  ['input that never comes', `exec 9<>"$silent"; run -i image:1 sh -c 'exit 4' <&9; echo $?`],
  ['input closed within', `run -i image:1 sh -c 'exec <&-; echo go; exit 5' <"$data"; echo $?`],
  ['output and errors apart', `run image:1 sh -c 'echo out; echo err >&2' 2>"$out"; cat "$out"`],
  ['a reader that leaves', `run image:1 sh -c 'while echo y; do :; done' 2>/dev/null | sed q`],
  ['the program closes its output', `run image:1 sh -c 'echo x; exec >&- 2>&-; exit 6'; echo $?`],
];

async function outcomeOfCase(
  line: string,
  words: readonly string[],
  base: string,
): Promise<Pick<Outcome, 'status' | 'stdout'>> {
  const script = `
    data=$1 out=$2 silent=$3; shift 3
    words=$*
    run() { $words "$@"; }
    ${line}`;
  const { status, stdout } = await run([
    'sh',
    '-c',
    script,
    'sh',
    `${base}/data`,
    `${base}/out`,
    `${base}/silent`,
    ...words,
  ]);
  return { status, stdout };
}

async function compares(t: Test, base: string): Promise<void> {
  const engine = await startDockerd(t, base, { storageDriver: 'vfs' });
  await engine.docker('import', `${base}/image.tar`, 'image:1');
  const dockers = [...engine.client, 'run', '--rm', '--network', 'none'];
  const own = [plyProgram, '--root', `${base}/root-of-ply`, 'run', '--rm', '--network', 'none'];
  for (const [what, line] of cases) {
    const [of, theirs] = [
      await outcomeOfCase(line, own, base),
      await outcomeOfCase(line, dockers, base),
    ];
    t.same(of, theirs, what);
    t.not(theirs.stdout, '', 'docker has something to say');
  }
  figure(t, cases.length, 'uses of standard streams compared with docker');
}

t.test('standard streams', { skip }, async (t) => {
  const base = await temporaryDirectory(t);
  const tar = await containerImage(base);
  await plyOn(`${base}/root-of-ply`)('import', '-q', tar, 'image:1');
  // Who opens `silent` to write as well reads what nobody writes.
  await run(['sh', '-c', 'head -c 3000000 /dev/urandom >"$0/data"; mkfifo "$0/silent"', base]);
  await compares(t, base);
});
