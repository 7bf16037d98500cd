/**
 * Documents from outside: how deep, how many values, how many bytes in sum. What exceeds a bound
 * takes neither memory nor a stack trace to say so.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseJson } from '../../src/base/bounded-json.js';
import { hexOf, sha256 } from '../../src/base/digest.js';
import { header, paxHeader, tar } from '../archive/tar-builder.js';
import { plyOn } from '../support/ply.js';
import { isRoot } from '../support/users.js';
import { watchedPly } from '../support/watched.js';
import { workspace } from '../suites/workspace.js';
import { archiveOf, docker20, imageOf } from './fixture.js';

t.setTimeout(300_000);
const noRoot = !isRoot && 'layers with their owners need root';

/**
 * Bytes: ply lists images in 60 MB, and the largest configuration is in memory as bytes, as text
 * and as what was parsed.
 */
const MEMORY = 200 << 20;

t.test('JSON is counted as it is parsed', async (t) => {
  const bounds = { depth: 3, values: 12 };
  const fits = [
    '{"a":["]}[{,",1,2,{"b\\\\":"\\"[[[["}]}',
    '[[[]]]',
    '"\\u005b"',
    ' 1 ',
    '[1,2,3,4,5,6,7,8,9,10,11]',
  ];
  for (const text of fits) t.same(parseJson(Buffer.from(text), bounds), JSON.parse(text), text);
  for (const text of [
    '[[[[]]]]',
    '{"a":{"b":{"c":[]}}}',
    '[1,2,3,4,5,6,7,8,9,10,11,12]',
    '[['.repeat(1e6),
  ])
    t.throws(() => parseJson(Buffer.from(text), bounds), RangeError, text.slice(0, 30));
  for (const text of ['', '{', '"', '"\\', '[1,]', '{"a"}'])
    t.throws(() => parseJson(Buffer.from(text), bounds), SyntaxError, text);
});

/** Valid as a configuration of the image but for what is in it. */
function configWith(config: Buffer, rest: string): Buffer {
  return Buffer.from(`${config.toString().slice(0, -1)},${rest}}`);
}

t.test('configurations that are made to take memory', { skip: noRoot }, async (t) => {
  const base = await workspace(t);
  const root = join(base, 'root');
  const image = await imageOf([{ file: 'x' }]);
  writeFileSync(join(base, 'good.tar'), await archiveOf(docker20([{ image, tags: ['good:1'] }])));
  await plyOn(root)('load', '-q', '-i', join(base, 'good.tar'));

  const nested = configWith(image.config, `"x":[${Array(2_000_000).fill('[]').join(',')}]`);
  const deep = configWith(image.config, `"x":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`);
  for (const [what, config, problem] of [
    ['many', nested, /more than 100000 values/],
    ['deep', deep, /more than 64 levels deep/],
  ] as const) {
    writeFileSync(
      join(base, 'bad.tar'),
      await archiveOf(
        docker20([
          { image: { ...image, config, id: sha256(config) as typeof image.id }, tags: ['bad:1'] },
        ]),
      ),
    );
    const {
      status,
      stderr,
      peak = 0,
    } = await watchedPly(['--root', root, 'load', '-q', '-i', join(base, 'bad.tar')]);
    t.equal(status, 1, what);
    t.match(stderr, problem);
    t.ok(peak > 0 && peak < MEMORY, `${Math.round(peak / (1 << 20))} MB`);
    t.equal(await plyOn(root)('images', '-q', '--format', '{{.Repository}}'), 'good');
  }

  // They are in the root already: another program may have put them there.
  const contents = join(root, 'image/overlay2/imagedb/content/sha256');
  const put = (config: Buffer): void =>
    writeFileSync(join(contents, hexOf(sha256(config))), config);
  put(nested);
  put(deep);
  const large = 20;
  for (let i = 0; i < large; i++)
    put(configWith(image.config, `"x":"${String(i).padEnd(7_500_000, 'x')}"`));
  const listed = await watchedPly(['--root', root, 'images', '-a', '-q']);
  t.equal(listed.stdout.trim().split('\n').length, large + 1, 'those that are images are listed');
  t.ok(
    listed.peak! < MEMORY,
    `${Math.round(listed.peak! / (1 << 20))} MB for ${large} of the largest configurations`,
  );
  t.match(
    (await plyOn(root).outcome('fsck')).stdout,
    /more than 64 levels deep[^]*more than 100000 values|more than 100000 values[^]*more than 64 levels deep/,
  );

  await plyOn(root)('create', '--name', 'box', 'good:1', '/x');
  const records = join(root, 'plyfs/containers/overlay2');
  const [record] = readdirSync(records);
  writeFileSync(
    join(records, record!),
    configWith(
      readFileSync(join(records, record!)),
      `"x":[${Array(2_000_000).fill('[]').join(',')}]`,
    ),
  );
  const shown = await watchedPly(['--root', root, 'ps', '-a']);
  t.ok(shown.peak! < MEMORY, `${Math.round(shown.peak! / (1 << 20))} MB for ps`);
  const names = join(root, 'image/overlay2/repositories.json');
  writeFileSync(names, `{"Repositories":{},"x":[${Array(2_000_000).fill('[]').join(',')}]}`);
  const refused = await watchedPly(['--root', root, 'images']);
  t.match(refused, { status: 1, stderr: /repositories\.json.*more than 1000000 values/ });
  t.ok(refused.peak! < MEMORY, `${Math.round(refused.peak! / (1 << 20))} MB for names`);
});

t.test('headers of an archive, in sum', { skip: noRoot }, async (t) => {
  const base = await workspace(t);
  mkdirSync(join(base, 'root'));
  // Each as long as tar-stream takes one.
  const one = paxHeader({ comment: 'x'.repeat(1_000_000) });
  const before = Buffer.concat(Array.from({ length: 40 }, () => one));
  const many = Array.from({ length: 40 }, (_, i) => [
    header({ name: 'l', flag: 'L', size: 1 << 20 }),
    Buffer.alloc(1 << 20, String(i % 10)),
    header({ name: 'f', size: 0 }),
  ]);
  const cases: Readonly<Record<string, Buffer>> = {
    'before one file': Buffer.concat([before, header({ name: 'f', size: 0 }), Buffer.alloc(1024)]),
    'many long names': Buffer.concat([...many.flat(), Buffer.alloc(1024)]),
  };
  for (const [what, archive] of Object.entries(cases)) {
    writeFileSync(join(base, 'bad.tar'), archive);
    const {
      status,
      stderr,
      peak = 0,
    } = await watchedPly(['--root', join(base, 'root'), 'load', '-q', '-i', join(base, 'bad.tar')]);
    t.equal(status, 1, what);
    t.match(stderr, /^ply: .*(extended headers of more than|has a name of)/m);
    t.ok(peak > 0 && peak < MEMORY, `${Math.round(peak / (1 << 20))} MB`);
  }
  // A layer's: each of them within the bound of one.
  const layer = tar(
    ...Array.from({ length: 3 }, () => [
      header({ name: 'l', flag: 'L', size: 512 << 10 }),
      Buffer.alloc(512 << 10, 'n'),
    ]).flat(),
    { name: 'f', data: 'f' },
  );
  writeFileSync(join(base, 'layer.tar'), layer);
  const { status, stderr } = await plyOn(join(base, 'root')).outcome(
    'import',
    join(base, 'layer.tar'),
  );
  t.match(
    { status, stderr },
    { status: 1, stderr: /extended headers of 1572864 bytes for one file/ },
  );
});
