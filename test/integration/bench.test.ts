/**
 * The benchmark runs, writes down what it measured, and leaves nothing when it is interrupted. Its
 * times are not looked at.
 */
import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readMountTable } from '../../src/host/mount-table.js';
import { outcomeOf, run, succeed } from '../support/command.js';
import { root } from '../support/root.js';
import { workspace } from '../suites/workspace.js';

const skip = process.getuid?.() === 0 ? false : 'the image that it works in is mounted by root';
const program = join(root, 'dist/test/bench/main.js');
const small = ['--quick', '--entries', '1200', '--layers', '3', '--targets', 'plyfs,kernel'];

interface Figures {
  readonly groups: readonly {
    readonly rows: readonly {
      readonly key: string;
      readonly samples: Record<string, (number | null)[]>;
    }[];
  }[];
}

void t.test('a few rows, and beside an earlier run', { skip }, async (t) => {
  const dir = await workspace(t);
  const files = ['--json', `${dir}/figures.json`, '--svg', `${dir}/picture.svg`];
  const first = await succeed([
    process.execPath,
    program,
    ...small,
    ...files,
    '--only',
    '=walk,=chmod',
  ]);
  t.match(first, /^first walk .* kernel (reached|MISSED)/m);
  const { groups } = JSON.parse(readFileSync(`${dir}/figures.json`, 'utf8')) as Figures;
  const rows = groups.flatMap((group) => group.rows);
  t.same(
    rows.map(({ key }) => key),
    ['walk-first', 'memory-after-walk', 'memory-per-entry', 'walk-again', 'stat-all', 'chmod'],
  );
  for (const { key, samples } of rows) t.ok((samples['plyfs']?.[0] ?? 0) > 0, key);
  t.match(readFileSync(`${dir}/picture.svg`, 'utf8'), /^<svg [^]*<\/svg>\n$/);

  // What the first run does not have is new, and no reason to fail.
  const again = [
    '--compare',
    `${dir}/figures.json`,
    '--json',
    `${dir}/again.json`,
    '--svg',
    `${dir}/again.svg`,
  ];
  const second = await succeed([
    process.execPath,
    program,
    ...small,
    ...again,
    '--only',
    '=chmod,=cp-a',
  ]);
  t.match(second, /^copy-up of .* +\d+\.\d+\S+ +\d+\.\d+\S+ kernel$/m);
  t.match(second, /^cp -a of a lower tree +new/m);
});

void t.test('interrupted in the middle, it leaves nothing', { skip }, async (t) => {
  const dir = await workspace(t);
  const child = spawn(
    process.execPath,
    [program, ...small, '--only', '=create', '--rounds', '1000', '--json', `${dir}/never.json`],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  t.teardown(() => child.kill('SIGINT'));
  const outcome = outcomeOf(child);
  let said = '';
  child.stderr.on('data', (chunk: string) => (said += chunk));
  while (!said.includes('round 1/1000: create on plyfs'))
    await once(child.stderr, 'data', { signal: AbortSignal.timeout(20_000) });
  const [, directory = '', image = ''] = /^in (\S+), which is (\S+)$/m.exec(said) ?? [];
  t.ok(existsSync(image));
  child.kill('SIGINT');
  t.equal((await outcome).status, 130);
  t.notOk(existsSync(image));
  t.notOk(existsSync(directory));
  t.same(
    readMountTable().filter(({ mountpoint }) => mountpoint.startsWith(directory)),
    [],
  );
  t.equal((await run(['losetup', '-j', image])).stdout, '');
  t.notOk(existsSync(`${dir}/never.json`));
});
