/** Signals: nothing is left behind, and the status says which it was. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import t from 'tap';
import { archiveOf, docker20, imageOf } from '../image/fixture.js';
import { outcomeOf } from '../support/command.js';
import { plyOn, plyProgram } from '../support/ply.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(180_000);
const noRoot = !isRoot && 'layers with their owners need root';

/** ply reads half of its archive from a pipe, says so, and gets the signal. */
async function interrupted(
  words: readonly string[],
  half: Buffer,
  signal: NodeJS.Signals,
): Promise<{ status: number | null; stderr: string }> {
  const child = spawn(plyProgram, words, { stdio: ['pipe', 'pipe', 'pipe'] });
  const outcome = outcomeOf(child);
  child.stdin.on('error', () => undefined);
  child.stdin.write(half);
  // The first line of progress: reading has begun.
  await once(child.stderr, 'data');
  child.kill(signal);
  const { status, stderr } = await outcome;
  child.stdin.destroy();
  return { status, stderr };
}

t.test('load and import while their input is silent', { skip: noRoot }, async (t) => {
  const base = await workspace(t);
  const ply = plyOn(`${base}/root`);
  const image = await imageOf([{ 'a/file': 'x'.repeat(3_000_000) }]);
  const archive = await archiveOf(docker20([{ image, tags: ['one:1'] }]));
  for (const [words, input] of [
    [['load'], archive],
    [['import', '-'], image.layers[0]!],
  ] as const) {
    for (const [signal, status] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const) {
      const ended = await interrupted(
        ['--root', `${base}/root`, ...words],
        input.subarray(0, 2_000_000),
        signal,
      );
      t.equal(ended.status, status, `${words[0]} ${signal}`);
      t.notMatch(ended.stderr, /^ply:/m, 'no sentence about what was asked for');
      t.same(readdirSync(`${base}/root/overlay2`), ['l'], 'no layer');
      t.same(readdirSync(`${base}/root/overlay2/l`), []);
      t.same(readdirSync(`${base}/root/image/overlay2/layerdb/tmp`), []);
      t.same(readdirSync(`${base}/root/image/overlay2/layerdb/sha256`), []);
    }
  }
  t.equal(await ply('images', '-q'), '');
  t.equal(await ply('gc'), '', 'no garbage');
});

t.test('save to a file', { skip: noRoot }, async (t) => {
  const base = await workspace(t);
  const ply = plyOn(`${base}/root`);
  const image = await imageOf([{ 'a/file': 'x'.repeat(50_000_000) }]);
  await writeFile(`${base}/image.tar`, await archiveOf(docker20([{ image, tags: ['one:1'] }])));
  await ply('load', '-q', '-i', `${base}/image.tar`);
  const before = readdirSync(base);
  const saved = `${base}/saved.tar`;
  // On a busy machine it may be done before the signal comes.
  for (let attempt = 0; attempt < 20; attempt++) {
    const child = spawn(plyProgram, ['--root', `${base}/root`, 'save', '-o', saved, 'one:1'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const outcome = outcomeOf(child);
    await once(child.stderr, 'data');
    child.kill('SIGINT');
    const { status, stdout } = await outcome;
    if (status === 0) {
      rmSync(saved);
      continue;
    }
    t.match({ status, stdout }, { status: 130, stdout: '' });
    t.same(readdirSync(base), before);
    return;
  }
  t.fail('no save was interrupted');
});
