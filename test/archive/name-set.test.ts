/** Names that were there before, and what they take. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import { NameSet } from '../../src/archive/name-set.js';
import { randomNumbers } from '../support/random-numbers.js';

t.test('as a Set', async (t) => {
  const random = randomNumbers(7);
  const names = new NameSet();
  const model = new Set<string>();
  let wrong = 0;
  for (let i = 0; i < 20_000; i++) {
    const name = `${random(9000)}`;
    if (names.has(name) !== model.has(name)) wrong++;
    if (names.add(name) === model.has(name)) wrong++;
    model.add(name);
  }
  t.equal(wrong, 0);
});

t.test('tar-split of a layer with more bytes of names than there is memory', async (t) => {
  const count = 60_000;
  const program = `
    const { TarSplitWriter } = await import('${new URL('../../src/archive/tar-split.js', import.meta.url).href}');
    const writer = TarSplitWriter.create(process.argv[1]);
    const directory = 'd'.repeat(200) + '/';
    const prefix = directory.repeat(20);
    for (let i = 0; i < ${count}; i++) await writer.file(Buffer.from(prefix + i).toString('latin1'), 0, undefined);
    await writer.close();`;
  // 240 MB of names in a heap of 64.
  const argv = [
    '--max-old-space-size=64',
    '--input-type=module',
    '-e',
    program,
    `${t.testdir()}/tar-split.json.gz`,
  ];
  await t.resolves(promisify(execFile)(process.execPath, argv));
});
