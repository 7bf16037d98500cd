/**
 * Where the caller's bounds leave too little for Node: a sentence, and no trace of V8 or of Node's
 * loader.
 */
import { mkdirSync } from 'node:fs';
import t from 'tap';
import { run } from '../support/command.js';
import { plyfsProgram } from '../support/plyfs.js';
import { plyProgram } from '../support/ply.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(120_000);

t.test('bounds of descriptors and of address space', async (t) => {
  const base = await workspace(t);
  for (const name of ['lower', 'mnt']) mkdirSync(`${base}/${name}`);
  const programs = [
    [plyProgram, '--root', `${base}/root`, 'images'],
    [plyProgram, '--version'],
    [plyfsProgram, '-o', `lowerdir=${base}/lower`, `${base}/mnt`],
    [plyfsProgram, '-f', '-o', `lowerdir=${base}/lower`, `${base}/mnt`],
  ];
  // 14: a shell itself needs 13 to say it. 500,000: V8 cannot reserve what it starts with. 25:
  // Node's own loader fails.
  const bounds = [
    [
      '-n 14',
      /^ply(fs)?: 14 open files are allowed \(ulimit -n\), and \d+ are needed: raise the limit\.$/,
    ],
    [
      '-n 25',
      /^ply(fs)?: 25 open files are allowed \(ulimit -n\), and \d+ are needed: raise the limit\.$/,
    ],
    [
      '-n 40',
      /^ply(fs)?: 40 open files are allowed \(ulimit -n\), and \d+ are needed: raise the limit\.$/,
    ],
    [
      '-v 300000',
      /^ply(fs)?: 300000 KiB of address space are allowed \(ulimit -v\), and Node reserves \d+: raise the limit\.$/,
    ],
    [
      '-v 500000',
      /^ply(fs)?: 500000 KiB of address space are allowed \(ulimit -v\), and Node reserves \d+: raise the limit\.$/,
    ],
  ] as const;
  for (const [bound, sentence] of bounds) {
    for (const argv of programs) {
      const { status, stdout, stderr } = await run([
        'sh',
        '-c',
        `ulimit ${bound} && exec "$@"`,
        'sh',
        ...argv,
      ]);
      t.match(
        { status, stdout, stderr: stderr.trimEnd() },
        { status: 1, stdout: '', stderr: sentence },
        `${bound}: ${argv.slice(0, 2).join(' ')}`,
      );
    }
  }
  const enough = await run([
    'sh',
    '-c',
    'ulimit -n 64 && ulimit -v 4000000 && exec "$@"',
    'sh',
    plyProgram,
    '--version',
  ]);
  t.equal(enough.status, 0, 'what suffices is not refused');
});
