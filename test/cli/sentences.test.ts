/**
 * What a user reads when the system refuses something: what, where, why in words, and never the
 * text of a library.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { run } from '../support/command.js';
import { plyfsProgram } from '../support/plyfs.js';
import { plyProgram } from '../support/ply.js';
import { asNobody, copyProgram, isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(120_000);
const skip = !isRoot && 'acts as another user';

/**
 * `ENOENT: no such file …, open '/x'` is how node:fs speaks, `EACCES: readdir` how an errno alone
 * does.
 */
const ofPrograms = /\bE[A-Z]{3,}: |, [a-z]+ '\/|(^|: )E[A-Z]{3,}\.?$/m;

interface Case {
  readonly words: readonly string[];
  readonly user?: 'nobody';
  /** All of them are named. */
  readonly says: readonly (string | RegExp)[];
}

t.test('refusals of the system', { skip }, async (t) => {
  const base = await workspace(t, 'private', 'root', 'mnt');
  chmodSync(base, 0o755);
  chmodSync(`${base}/private`, 0o700);
  mkdirSync(`${base}/private/root`);
  writeFileSync(`${base}/file`, 'no archive');
  const ply = ['--root', `${base}/root`];
  const program = copyProgram(base);
  const cases: readonly Case[] = [
    {
      words: [plyProgram, '--root', `${base}/private/root`, 'images'],
      user: 'nobody',
      says: [`${base}/private/root`, 'permission denied'],
    },
    {
      words: [plyProgram, '--root', `${base}/private/new`, 'import', `${base}/file`],
      user: 'nobody',
      says: [`${base}/private`, 'permission'],
    },
    {
      words: [plyProgram, '--root', `${base}/file/root`, 'import', `${base}/file`],
      says: [`${base}/file`, 'not a directory'],
    },
    {
      words: [plyProgram, ...ply, 'load', '-i', `${base}/none`],
      says: [`${base}/none`, 'no such file'],
    },
    { words: [plyProgram, ...ply, 'load', '-i', base], says: [base] },
    { words: [plyProgram, ...ply, 'import', base], says: [base, 'directory'] },
    {
      words: [plyfsProgram, '-o', `lowerdir=${base}/none`, `${base}/mnt`],
      says: [`${base}/none`, 'does not exist'],
    },
    {
      words: [plyfsProgram, '-o', `lowerdir=${base}/private`, `${base}/mnt`],
      user: 'nobody',
      says: [`${base}/private`, 'permission'],
    },
    {
      words: [plyfsProgram, '-o', `lowerdir=${base}`, `${base}/private/root`],
      user: 'nobody',
      says: [`${base}/private/root`, /permission/],
    },
    {
      words: [plyfsProgram, '-o', `trace=${base}/none/t,lowerdir=${base}/root`, `${base}/mnt`],
      says: [`${base}/none/t`, 'no such file'],
    },
  ];
  for (const { words, user, says } of cases) {
    const argv =
      user === undefined
        ? words
        : [
            ...asNobody,
            ...words.map((word) => word.replace(/^.*(\/bin\/ply(fs)?)$/, `${program}$1`)),
          ];
    const { status, stderr } = await run(argv);
    const about = `${words.join(' ').replaceAll(base, '')}: ${stderr.replaceAll(base, '').trim()}`;
    t.not(status, 0, about);
    t.match(stderr, /^ply(fs)?: [^\n]+\.\n$/, 'one line, with its full stop');
    t.notMatch(stderr, ofPrograms, 'not as programs speak');
    for (const what of says) t.match(stderr, what);
  }
});
