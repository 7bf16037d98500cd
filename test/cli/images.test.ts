/** The commands about images, through the built program on a data root of the test's own. */
import { existsSync, readdirSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import t from 'tap';
import type { Test } from 'tap';
import { archiveOf, docker20, imageOf, type TestImage } from '../image/fixture.js';
import { run, succeed } from '../support/command.js';
import { plyOn, plyProgram, type Ply } from '../support/ply.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

interface Scene {
  readonly base: string;
  readonly ply: Ply;
  readonly image: TestImage;
}

/** A root with `small:1` of two layers, made in 2024. */
async function scene(t: Test): Promise<Scene> {
  const base = await workspace(t);
  const image = await imageOf([{ 'etc/motd': 'hello\n' }, { 'etc/issue': 'issue\n' }], {
    config: {
      Cmd: ['/bin/sh', '-c', 'a && b'],
      Env: ['PATH=/bin', 'A=b'],
      Labels: { one: '1', 'a.b': '2' },
      User: 'me',
    },
    history: [
      { created: '2024-05-06T07:08:09Z', created_by: `/bin/sh -c ${'x'.repeat(60)}` },
      { created: '2024-05-06T07:08:10Z', created_by: 'ENV A=b', empty_layer: true },
      { created: '2024-05-06T07:08:11Z', created_by: 'COPY . /', comment: 'copied' },
    ],
  });
  await writeFile(`${base}/image.tar`, await archiveOf(docker20([{ image, tags: ['small:1'] }])));
  const ply = plyOn(`${base}/root`);
  await ply('load', '-q', '-i', `${base}/image.tar`);
  return { base, ply, image };
}

t.setTimeout(180_000);
const noRoot = !isRoot && 'layers with their owners need root';

t.test(
  'load says what it loaded, as docker does, and how far it is on stderr',
  { skip: noRoot },
  async (t) => {
    const { base, image } = await scene(t);
    const other = plyOn(`${base}/other`);
    const loaded = await other.outcome('load', '-i', `${base}/image.tar`);
    t.match(loaded, { status: 0, stdout: 'Loaded image: small:1\n' });
    t.match(loaded.stderr, /^[0-9a-f]{12}: Loading layer [\d.]+k?B$/m);
    t.match(await other.outcome('load', '-q', '-i', `${base}/image.tar`), {
      stdout: 'Loaded image: small:1\n',
      stderr: '',
    });
    t.same(await other.json('load', '-q', '-i', `${base}/image.tar`), [
      { id: image.id, tags: ['small:1'], replaced: [] },
    ]);
    t.match(
      await run([
        'sh',
        '-c',
        `gzip <${base}/image.tar | ${plyProgram} --root ${base}/fourth load -q`,
      ]),
      {
        status: 0,
        stdout: 'Loaded image: small:1\n',
      },
    );
    t.match(
      await run(['sh', '-c', `${plyProgram} --root ${base}/fifth load -q <${base}/image.tar`]),
      {
        status: 0,
        stdout: 'Loaded image: small:1\n',
      },
    );
    for (const [what, words] of [
      ['an archive that is none', ['load', '-i', `${base}/root/image/overlay2/repositories.json`]],
      ['one that is not there', ['load', '-i', `${base}/none.tar`]],
    ] as const) {
      t.match(
        await other.outcome(...words),
        { status: 1, stdout: '', stderr: /^ply: [^\n]+\n$/ },
        what,
      );
    }
  },
);

t.test('images in docker’s columns', { skip: noRoot }, async (t) => {
  const { ply, image } = await scene(t);
  const id = image.id.slice('sha256:'.length);
  await ply('tag', 'small:1', 'example.com/team/other');
  // Column widths are those of docker 20.10 for these words: the longest and three spaces, at least
  // ten.
  const short = id.slice(0, 12);
  const [header, ...rows] = (await ply('images')).split('\n');
  t.match(header, /^REPOSITORY {15}TAG {7}IMAGE ID {7}CREATED +SIZE$/);
  t.match(rows[0], new RegExp(`^small {20}1 {9}${short} {3}\\d+ (years|months) ago +12B$`));
  t.match(
    rows[1],
    new RegExp(`^example.com/team/other {3}latest {4}${short} {3}\\d+ (years|months) ago +12B$`),
  );
  t.equal(await ply('images', '-q'), `${short}\n${short}`);
  t.equal(await ply('images', '-q', '--no-trunc', 'small'), image.id);
  t.equal(
    await ply('images', '--format', '{{.Repository}}:{{.Tag}} {{.Digest}} {{.Size}}', 'small:1'),
    'small:1 <none> 12B',
  );
  t.equal(
    await ply('images', '--format', 'table {{.ID}}\\t{{.Tag}}', 'small'),
    `IMAGE ID       TAG\n${short}   1`,
  );
  t.same(JSON.parse(await ply('images', '--format', 'json', 'small')), {
    Repository: 'small',
    Tag: '1',
    Digest: '<none>',
    ID: short,
    CreatedSince: await ply('images', '--format', '{{.CreatedSince}}', 'small'),
    CreatedAt: await ply('images', '--format', '{{.CreatedAt}}', 'small'),
    Size: '12B',
    VirtualSize: '12B',
  });
  t.same(await ply.json('images', 'small'), [
    {
      id: image.id,
      tags: ['small:1'],
      digests: [],
      created: '2024-05-06T07:08:09.100Z',
      size: 12,
      labels: { one: '1', 'a.b': '2' },
    },
  ]);
  for (const [filter, found] of [
    ['reference=small', 1],
    ['reference=sm*:?', 1],
    ['reference=example.com/*/other', 1],
    ['reference=*', 1],
    ['reference=none', 0],
    ['label=one', 2],
    ['label=one=2', 0],
    ['dangling=true', 0],
    ['dangling=false', 2],
    ['before=small:1', 0],
  ] as const) {
    t.equal(
      (await ply('images', '-q', '--filter', filter)).split('\n').filter((line) => line !== '')
        .length,
      found,
      filter,
    );
  }
  t.match(await ply.outcome('images', '--filter', 'shape=round'), {
    status: 2,
    stderr: /^ply: There is no filter 'shape=round'/,
  });
  t.match(await ply.outcome('images', '--format', '{{.Nope}}'), { status: 2, stderr: /\.Nope/ });
});

t.test('history, the newest step first', { skip: noRoot }, async (t) => {
  const { ply, image } = await scene(t);
  const format = '{{.ID}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}}';
  t.same((await ply('history', '--format', format, 'small:1')).split('\n'), [
    `${image.id.slice(7, 19)}|COPY . /|6B|copied`,
    '<missing>|ENV A=b|0B|',
    `<missing>|/bin/sh -c ${'x'.repeat(33)}…|6B|`,
  ]);
  t.equal(await ply('history', '-q', '--no-trunc', 'small:1'), `${image.id}\n<missing>\n<missing>`);
  t.match(
    await ply('history', 'small:1'),
    /^IMAGE {10}CREATED {5,}CREATED BY {38}SIZE {6}COMMENT\n/,
  );
  t.match(await ply.json('history', 'small:1'), [
    { id: image.id, created: '2024-05-06T07:08:11.000Z', size: 6 },
    { createdBy: 'ENV A=b' },
    {},
  ]);
});

t.test('inspect as JSON and through templates', { skip: noRoot }, async (t) => {
  const { base, ply, image } = await scene(t);
  const [shown] = JSON.parse(await ply('inspect', 'small:1')) as Record<string, unknown>[];
  t.match(shown, {
    Id: image.id,
    RepoTags: ['small:1'],
    RepoDigests: [],
    Parent: '',
    Config: { User: 'me', Cmd: ['/bin/sh', '-c', 'a && b'], Hostname: '', Labels: { one: '1' } },
    Os: 'linux',
    Architecture: 'amd64',
    Size: 12,
    GraphDriver: { Name: 'overlay2' },
    RootFS: { Type: 'layers', Layers: image.diffIds },
  });
  const templates: [string, string][] = [
    ['{{.Id}}', image.id],
    ['{{json .Config.Cmd}}', '["/bin/sh","-c","a && b"]'],
    ['{{range .Config.Env}}{{println .}}{{end}}', 'PATH=/bin\nA=b'],
    ['{{join .Config.Env ","}}', 'PATH=/bin,A=b'],
    ['{{index .Config.Labels "a.b"}}{{index .Config.Labels "none"}}', '2'],
    ['{{if .Config.Entrypoint}}yes{{else}}no{{end}}', 'no'],
    ['{{len .RootFS.Layers}} {{upper .Os}}', '2 LINUX'],
    ['{{with index .RepoTags 0}}{{.}}{{end}}', 'small:1'],
    [
      '{{.GraphDriver.Data.UpperDir}}',
      `${base}/root/overlay2/${await ply('layers', '--no-trunc', '--format', '{{.CacheID}}', 'small:1').then((ids) => ids.split('\n')[0]!)}/diff`,
    ],
  ];
  for (const [template, text] of templates)
    t.equal(await ply('inspect', '-f', template, 'small:1'), text, template);
  const { DiffID } = JSON.parse(
    await ply('layers', '--no-trunc', '--format', '{{json .}}', 'small:1').then(
      (lines) => lines.split('\n')[1]!,
    ),
  ) as { DiffID: string };
  t.equal(
    await ply('inspect', '-f', '{{.ChainId}} {{.Depth}}', DiffID),
    `${DiffID} 1`,
    'the base by its ChainID',
  );
  t.match(await ply.outcome('inspect', '-f', '{{.Nope}}', 'small:1'), {
    status: 2,
    stderr: /^ply: The template cannot be used: there is no \.Nope/,
  });
  t.match(await ply.outcome('inspect', 'nothing'), { status: 1, stderr: /'nothing'/ });
});

t.test(
  'layers are listed in the order in which the mount gets them',
  { skip: noRoot },
  async (t) => {
    const { ply, image } = await scene(t);
    const layers = (await ply.json('layers', 'small:1')) as {
      diffId: string;
      directory: string;
      size: number;
    }[];
    t.same(
      layers.map(({ diffId }) => diffId),
      [...image.diffIds].reverse(),
      'topmost first',
    );
    t.same(
      layers.map(({ size }) => size),
      [6, 6],
    );
    t.same(readdirSync(`${layers[0]!.directory}/etc`), ['issue']);
    t.same(readdirSync(`${layers[1]!.directory}/etc`), ['motd']);
  },
);

t.test('save: to a file that is whole or not there, and to a pipe', { skip: noRoot }, async (t) => {
  const { base, ply, image } = await scene(t);
  await ply('save', '-q', '-o', `${base}/saved.tar`, 'small:1');
  const other = plyOn(`${base}/other`);
  t.equal(await other('load', '-q', '-i', `${base}/saved.tar`), 'Loaded image: small:1');
  t.equal(await other('images', '-q', '--no-trunc'), image.id);
  t.match(
    await run([
      'sh',
      '-c',
      `${plyProgram} --root ${base}/root save -q small:1 | cmp - ${base}/saved.tar`,
    ]),
    { status: 0 },
    'the same bytes',
  );
  t.same(await ply.json('save', '-q', '-o', `${base}/saved.tar`, 'small:1'), {
    file: `${base}/saved.tar`,
    bytes: (await stat(`${base}/saved.tar`)).size,
  });

  const before = readdirSync(base);
  t.match(await ply.outcome('save', '-o', `${base}/none.tar`, 'nothing'), {
    status: 1,
    stderr: /"nothing"/,
  });
  t.match(await ply.outcome('save', '-o', `${base}/no/such/place.tar`, 'small:1'), {
    status: 1,
    stderr: /^ply: [^\n]*place\.tar/m,
  });
  t.same(readdirSync(base), before, 'nothing is left beside');
  t.match(
    await run([
      'sh',
      '-c',
      `${plyProgram} --root ${base}/root save -q small:1 2>${base}/errors | head -c 10 >/dev/null`,
    ]),
    {
      status: 0,
    },
  );
  t.equal(await readFile(`${base}/errors`, 'utf8'), '', 'a reader who has gone is no error');
});

t.test('import, tag, rmi', { skip: noRoot }, async (t) => {
  const { base, ply, image } = await scene(t);
  await succeed(['sh', '-c', 'mkdir tree && echo x >tree/file && tar -cf tree.tar -C tree .'], {
    cwd: base,
  });
  const id = await ply(
    'import',
    '-q',
    '-c',
    'CMD ["/bin/sh"]',
    '-c',
    'ENV A=b',
    '-m',
    'by hand',
    `${base}/tree.tar`,
    'mine',
  );
  t.match(id, /^sha256:[0-9a-f]{64}$/);
  t.equal(
    await ply(
      'inspect',
      '-f',
      '{{join .RepoTags ","}} {{json .Config.Cmd}} {{.Config.Env}} {{.Comment}}',
      id,
    ),
    'mine:latest ["/bin/sh"] [A=b] by hand',
  );
  t.match(
    await run([
      'sh',
      '-c',
      `${plyProgram} --root ${base}/root import -q - piped:1 <${base}/tree.tar`,
    ]),
    {
      status: 0,
      stdout: /^sha256:/,
    },
  );
  t.match(await ply.outcome('import', `${base}/none.tar`), {
    status: 1,
    stderr: /none\.tar cannot be read/,
  });
  t.match(await ply.outcome('import', '-c', 'NOPE x', `${base}/tree.tar`), { status: 2 });

  await ply('tag', 'small:1', 'small:2');
  t.match(await ply.outcome('tag', 'small:1', 'Not A Name'), { status: 1, stderr: /"Not A Name"/ });
  t.equal(await ply('rmi', 'small:2'), 'Untagged: small:2');
  const removed = (await ply('rmi', 'small:1')).split('\n');
  t.same(removed.slice(0, 2), ['Untagged: small:1', `Deleted: ${image.id}`]);
  t.equal(
    removed.filter((line) => line.startsWith('Deleted: ')).length,
    3,
    'the image and its two layers',
  );
  t.match(
    await ply.outcome('rmi', 'small:1', 'piped:1'),
    { status: 1, stdout: /Untagged: piped:1/, stderr: /"small:1"/ },
    'the others go',
  );
  t.equal(await ply('images', '--format', '{{.Repository}}'), 'mine');
});

t.test(
  'a root that another program made is read, and changed only when asked to',
  { skip: noRoot },
  async (t) => {
    const { base, ply, image } = await scene(t);
    await succeed(['rm', '-r', `${base}/root/plyfs`]);
    t.equal(await ply('images', '-q', '--no-trunc'), image.id);
    t.match(await ply('info'), /^Made By: another program/m);
    for (const words of [
      ['tag', 'small:1', 'b'],
      ['rmi', 'small:1'],
      ['gc'],
      ['mount', 'small:1', base],
    ]) {
      t.match(
        await ply.outcome(...words),
        { status: 1, stderr: /^ply: [^\n]*--writable[^\n]*\n$/ },
        words[0]!,
      );
    }
    t.notOk(existsSync(`${base}/root/plyfs`));
    t.match(await ply.outcome('--writable', 'tag', 'small:1', 'b'), { status: 0 });
    t.match(
      await ply.outcome('tag', 'small:1', 'c'),
      { status: 1 },
      'which has to be said each time',
    );
  },
);

t.test('info, gc, fsck', { skip: noRoot }, async (t) => {
  const { base, ply } = await scene(t);
  t.match(
    await ply('info'),
    /^Data Root: .*\/root\n[^]*^Images: 1\nLayers: 2\nMounts: 0\nStorage Driver: overlay2\n Backing Filesystem: /m,
  );
  t.match(await ply.json('info'), {
    root: `${base}/root`,
    storageDriver: 'overlay2',
    images: 1,
    layers: 2,
  });
  t.match(await ply.outcome('fsck', '--deep', '-q'), { status: 0, stdout: '', stderr: '' });
  t.match(await ply.outcome('fsck'), {
    status: 0,
    stdout: /: \d+ layers and \d+ images, nothing wrong\.\n$/,
  });
  await succeed(['mkdir', `${base}/root/overlay2/${'a'.repeat(64)}`]);
  t.match(await ply('gc', '--dry-run'), /overlay2\/a{64}/);
  t.match(await ply.outcome('fsck', '-q'), {
    status: 1,
    stdout: /overlay2\/a{64}/,
    stderr: /^ply: One thing is not as it should be/,
  });
  t.match(await ply('gc'), /overlay2\/a{64}/);
  t.equal(await ply('gc'), '');
  const [top] = (await ply.json('layers', 'small:1')) as { directory: string }[];
  await writeFile(`${top!.directory}/etc/issue`, 'other\n');
  t.match(await ply.outcome('fsck', '-q'), { status: 0 }, 'bytes are not compared');
  t.match(
    await ply.outcome('fsck', '--deep', '-q'),
    { status: 1, stdout: /\n/ },
    'until asked for',
  );
  t.match(
    await ply.outcome('save', '-q', '-o', `${base}/saved.tar`, 'small:1'),
    { status: 1 },
    'and it cannot be saved',
  );
  t.notOk(existsSync(`${base}/saved.tar`));
});

t.test('a root that is not there is not made by who only looks', async (t) => {
  const base = await workspace(t);
  t.match(await plyOn(`${base}/none`).outcome('images'), {
    status: 1,
    stderr: /^ply: There is no data root/,
  });
  t.notOk(existsSync(`${base}/none`));
});
