/** What files of an image cannot keep is said when it comes in: counted, named, and in the JSON. */
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { entry, tar } from '../archive/tar-builder.js';
import { archiveOf, docker20, imageOfTars } from '../image/fixture.js';
import { run } from '../support/command.js';
import { plyOn } from '../support/ply.js';
import { asNobody, copyProgram, isRoot, NOBODY } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(120_000);

const withAttribute = (name: string, attribute: string, value: string): Buffer =>
  entry({ name, data: 'x', pax: { [`SCHILY.xattr.${attribute}`]: value } });

t.test('as root', { skip: isRoot ? false : 'layers with owners need root' }, async (t) => {
  const base = await workspace(t);
  // A capability has a length for each of its versions (linux/capability.h); this one has none.
  const layers = [
    tar(
      withAttribute('ping', 'security.capability', 'short'),
      withAttribute('kept', 'user.note', 'x'),
    ),
    tar(
      withAttribute('arping', 'security.capability', 'longer than any capability'),
      withAttribute('hidden', 'trusted.overlay.redirect', '/x'),
    ),
  ];
  const archive = `${base}/image.tar`;
  writeFileSync(
    archive,
    await archiveOf(docker20([{ image: imageOfTars(layers), tags: ['sample:1'] }])),
  );
  writeFileSync(`${base}/rootfs.tar`, layers[0]!);
  const ply = plyOn(`${base}/root`);
  const said = [
    'ply: The attribute security.capability was left out on 2 files, ping the first of them (EINVAL).',
    'ply: The attribute trusted.overlay.redirect was left out on hidden (it belongs to the union).',
  ];
  const loaded = await ply.outcome('load', '-q', '-i', archive);
  t.match(loaded, { status: 0, stdout: 'Loaded image: sample:1\n' });
  t.same(loaded.stderr.trim().split('\n'), said);
  const capability = { attribute: 'security.capability', reason: 'EINVAL', first: 'ping' };
  const again = plyOn(`${base}/again`);
  t.match(await again.json('load', '-q', '-i', archive), [
    {
      lost: [
        { ...capability, files: 2 },
        { attribute: 'trusted.overlay.redirect', files: 1 },
      ],
    },
  ]);
  const [known] = (await again.json('load', '-q', '-i', archive)) as [{ lost?: unknown }];
  t.equal(known.lost, undefined, 'what is there already is not read');
  t.match(await plyOn(`${base}/third`).json('import', '-q', `${base}/rootfs.tar`), {
    lost: [{ ...capability, files: 1 }],
  });
});

t.test(
  'as an ordinary user',
  { skip: isRoot ? false : 'the test becomes another user, which takes root' },
  async (t) => {
    const base = await workspace(t, 'home');
    chownSync(`${base}/home`, NOBODY, NOBODY);
    const names = Array.from({ length: 25 }, (_, index) => `trusted.n${index}`);
    writeFileSync(
      `${base}/rootfs.tar`,
      tar(
        withAttribute('a', 'trusted.label', 'x'),
        withAttribute('b', 'trusted.label', 'x'),
        ...names.map((name) => withAttribute(name, name, 'x')),
      ),
    );
    mkdirSync(`${base}/home/run`);
    const words = [
      ...asNobody,
      `${copyProgram(base)}/bin/ply`,
      '--root',
      `${base}/home/root`,
      '--storage-driver',
      'overlay2',
    ];
    const { status, stderr } = await run([...words, 'import', '-q', `${base}/rootfs.tar`]);
    t.equal(status, 0);
    const lines = stderr.trim().split('\n');
    t.equal(
      lines[0],
      'ply: The attribute trusted.label was left out on 2 files, a the first of them (EPERM).',
    );
    t.equal(lines.length, 21, 'many attributes are not many sentences');
    t.equal(
      lines.at(-1),
      'ply: Further attributes were left out on 6 files, trusted.n19 the first of them (various).',
    );
  },
);
