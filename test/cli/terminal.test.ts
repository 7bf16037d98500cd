/**
 * Names and texts of strangers on a terminal: nothing of them steers it or makes a line of its own;
 * in a pipe and in JSON they are as they are.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { forTerminal, inLine } from '../../src/cli/terminal-text.js';
import { archiveOf, docker20, imageOf } from '../image/fixture.js';
import { run } from '../support/command.js';
import { figure } from '../support/figures.js';
import { tarOf } from '../support/layer-tar.js';
import { plyOn, plyProgram } from '../support/ply.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(180_000);

/**
 * Sets the title, colours, goes up a line, begins one that looks like one of ply's, turns what
 * follows around.
 */
const HOSTILE = 'a\x1b]0;owned\x07\x1b[31m\x1b[1A\r\nplanted\u009b2J\u202eexe\x7f';

/**
 * As script(1) shows what a program writes to a terminal; the terminal makes \r\n of ends of lines.
 */
async function onTerminal(argv: readonly string[], redirect = ''): Promise<string> {
  const command = argv.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const { stdout } = await run(['script', '-qec', `${command} ${redirect}`, '/dev/null']);
  return Buffer.from(stdout, 'latin1').toString('utf8').replaceAll('\r\n', '\n');
}

const STEERS = /[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

t.test('quoted as ls -b quotes', async (t) => {
  t.equal(inLine('\x1b[1m\n\t\r\x01é€'), '\\e[1m\\n\\t\\r\\001é€');
  t.equal(forTerminal('a\tb\n\x1bc'), 'a\tb\n\\ec');
  t.equal(forTerminal('\u202e\u009b\x7f'), '\\u202e\\u009b\\u007f');
  t.same(
    JSON.parse(forTerminal(JSON.stringify('x\u009b\u2028\u202e\x7f\n\x1b"'))),
    'x\u009b\u2028\u202e\x7f\n\x1b"',
    'JSON means the same after',
  );
});

t.test(
  'each command that shows what an image brought',
  { skip: !isRoot && 'layers with their owners need root' },
  async (t) => {
    const base = await workspace(t);
    const root = join(base, 'root');
    mkdirSync(root);
    const image = await imageOf([{ file: 'x' }], {
      config: { Cmd: ['/bin/sh', HOSTILE], Labels: { note: HOSTILE }, Env: [`A=${HOSTILE}`] },
      author: HOSTILE,
      history: [{ created: '2024-05-06T07:08:09Z', created_by: HOSTILE, comment: HOSTILE }],
    });
    writeFileSync(join(base, 'image.tar'), await archiveOf(docker20([{ image, tags: ['one:1'] }])));
    const ply = plyOn(root);
    await ply('load', '-q', '-i', join(base, 'image.tar'));
    await ply('create', '--name', 'box', 'one:1');
    writeFileSync(join(base, 'file.tar'), await tarOf([{ name: HOSTILE, content: 'x' }]));
    const { status } = await run([
      'sh',
      '-c',
      '"$1" --root "$2" cp - box:/ < "$3"',
      'sh',
      plyProgram,
      root,
      join(base, 'file.tar'),
    ]);
    t.equal(status, 0);

    /** With how many lines it has. */
    const shown: readonly (readonly [words: readonly string[], lines: number | undefined])[] = [
      [['history', '--no-trunc', 'one:1'], 2],
      [['history', '--format', '{{.CreatedBy}}', 'one:1'], 1],
      [['ps', '--no-trunc'], 2],
      [['ps', '--format', '{{.Command}}|{{.Labels}}', '--no-trunc'], 1],
      [['diff', 'box'], 1],
      [['tree', '--no-trunc', 'box'], undefined],
      [['layers', 'box'], 2],
      [['images'], 2],
      [
        ['inspect', '--format', '{{.Author}} {{.Config.Labels.note}} {{.Config.Env}}', 'one:1'],
        undefined,
      ],
      [['inspect', 'one:1'], undefined],
      [['explain', 'box', `/${HOSTILE}`], undefined],
      [['rmi', HOSTILE], 1],
      [['mount', 'one:1', join(base, HOSTILE)], 1],
    ];
    let raw = 0;
    for (const [words, lines] of shown) {
      const argv = [plyProgram, '--root', root, ...words];
      const text = await onTerminal(argv);
      const what = words.slice(0, 2).join(' ');
      t.notMatch(text, STEERS, what);
      t.notMatch(
        text,
        words[0] === 'inspect' ? /^$^/ : /^planted/m,
        `${what}: no line of a stranger's`,
      );
      if (lines !== undefined)
        t.equal(text.trimEnd().split('\n').length, lines, `${what}: its lines`);
      // stderr is a terminal, stdout is none; and the other way round.
      t.notMatch(await onTerminal(argv, '>/dev/null'), STEERS, `${what}: stderr alone`);
      t.notMatch(await onTerminal(argv, '2>/dev/null'), STEERS, `${what}: stdout alone`);
      const piped = await run(argv);
      if (piped.stdout.includes('\x1b]0;owned\x07')) raw++;
    }
    t.ok(raw >= 5, `${raw} show it as it is in a pipe`);
    t.match(await ply('history', '--format', 'json', 'one:1'), /\\u001b\]0;owned/);
    t.same(
      JSON.parse(await onTerminal([plyProgram, '--root', root, 'inspect', 'one:1'])),
      await ply.json('inspect', 'one:1'),
      'JSON means the same on a terminal',
    );
    figure(t, shown.length * 3, 'commands on a terminal');
  },
);
