/** The texts of `config` are what dockerd 20.10.24 made of the same changes. */
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { historyOf } from '../../src/image/history.js';
import { importImage, type ImportOptions } from '../../src/image/import-image.js';
import { parseReference } from '../../src/image/reference.js';
import { diffIdOf, isRoot, sourceOf, tarOf } from '../layer/fixture.js';
import { newStores, whatIsThere } from './fixture.js';

t.setTimeout(120_000);

/** The fields that the changes leave alone are `…`. */
function configText(fields: Readonly<Record<string, string>>): string {
  const {
    User = '""',
    ExposedPorts,
    Env = 'null',
    Cmd = 'null',
    Healthcheck,
    Volumes = 'null',
    WorkingDir = '""',
    Entrypoint = 'null',
  } = fields;
  const { OnBuild = 'null', Labels = 'null' } = fields;
  return (
    `{"Hostname":"","Domainname":"","User":${User},"AttachStdin":false,"AttachStdout":false,"AttachStderr":false,` +
    (ExposedPorts === undefined ? '' : `"ExposedPorts":${ExposedPorts},`) +
    `"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":${Env},"Cmd":${Cmd},` +
    (Healthcheck === undefined ? '' : `"Healthcheck":${Healthcheck},`) +
    `"Image":"","Volumes":${Volumes},"WorkingDir":${WorkingDir},"Entrypoint":${Entrypoint},"OnBuild":${OnBuild},"Labels":${Labels}}`
  );
}

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const rootfs = await tarOf({ 'bin/sh': 'x'.repeat(1000), 'etc/issue': 'hello\n' });
  const diffId = diffIdOf(rootfs);
  const created = new Date('2024-05-06T07:08:09.120Z');
  const platform = { os: 'linux', architecture: 'amd64' };

  await t.test('a root file system is an image of one layer', async (t) => {
    const stores = await newStores(t);
    const reference = parseReference('base:1');
    const { image } = await importImage(sourceOf(gzipSync(rootfs)), stores, {
      platform,
      created,
      reference,
    });
    const text = `{"architecture":"amd64","comment":"Imported from -","config":${configText({})},"created":"2024-05-06T07:08:09.12Z","history":[{"created":"2024-05-06T07:08:09.12Z","comment":"Imported from -"}],"os":"linux","rootfs":{"type":"layers","diff_ids":["${diffId}"]}}`;
    t.equal(Buffer.from(image.raw).toString(), text);
    t.equal(stores.references.get(reference), image.id);
    t.match(stores.images.lastUpdated(image.id), /^20\d\d-/);
    t.same(
      historyOf(image, stores).map(({ comment, size }) => [comment, size]),
      [['Imported from -', 1006]],
    );
    const other = await importImage(sourceOf(rootfs), stores, {
      platform,
      created,
      message: 'mine',
      reference,
    });
    t.equal(other.replaced, image.id);
    t.equal(other.image.config.history[0]!.comment, 'mine');
    t.equal(stores.layers.layers().length, 1, 'the same layer');
  });

  await t.test('another platform', async (t) => {
    const stores = await newStores(t);
    const { image } = await importImage(sourceOf(rootfs), stores, {
      platform: { os: 'linux', architecture: 'arm', variant: 'v7' },
    });
    t.same(image.config.platform, { os: 'linux', architecture: 'arm', variant: 'v7' });
    await t.rejects(
      importImage(sourceOf(rootfs), stores, { platform: { os: 'windows', architecture: 'amd64' } }),
      {
        code: 'platform-unsupported',
      },
    );
  });

  const made: readonly (readonly [
    changes: readonly string[],
    fields: Readonly<Record<string, string>>,
  ])[] = [
    [
      [
        'CMD ["/bin/sh"]',
        'ENV A=b C="d e"',
        'ENV OLD style value',
        'WORKDIR /w',
        'WORKDIR rel',
        'USER 1:2',
        'EXPOSE 80 90/udp 7000-7002',
        'LABEL x=1 y="z <&> w" 10=a 9=b',
        'VOLUME /data',
        'VOLUME ["/a","/b"]',
        'ENTRYPOINT foo bar',
        'HEALTHCHECK --interval=5s --retries=3 CMD echo hi',
        'ONBUILD RUN ls',
      ],
      {
        User: '"1:2"',
        ExposedPorts: '{"7000/tcp":{},"7001/tcp":{},"7002/tcp":{},"80/tcp":{},"90/udp":{}}',
        Env: '["A=b","C=d e","OLD=style value"]',
        Cmd: '["/bin/sh"]',
        Healthcheck: '{"Test":["CMD-SHELL","echo hi"],"Interval":5000000000,"Retries":3}',
        Volumes: '{"/a":{},"/b":{},"/data":{}}',
        WorkingDir: '"/w/rel"',
        Entrypoint: '["/bin/sh","-c","foo bar"]',
        OnBuild: '["RUN ls"]',
        Labels: '{"10":"a","9":"b","x":"1","y":"z \\u003c\\u0026\\u003e w"}',
      },
    ],
    [
      [
        'ENV A=$B C="x ${A}y"',
        'ENV A=1',
        "ENV D=$A E=\\$A F='$A'",
        'ENV G="a\\nb\\"c\\\\" H=a\\ b',
      ],
      { Env: '["A=1","C=x y","D=1","E=$A","F=$A","G=a\\\\nb\\"c\\\\","H=a b"]' },
    ],
    [['ENV A=1', 'ENV A=2 B=$A ${A}c=3'], { Env: '["A=2","B=1","1c=3"]' }],
    [['ENV A=${B:-def} C=${A:+set} D=${A:-x}'], { Env: '["A=def","C=","D=x"]' }],
    [
      ['ENV A=${B:-${C:-"d}"}e}', 'ENV F="(${A:+[${B:-$A}]})" G=${B:+${C:-x}}'],
      { Env: '["A=d}e","F=([d}e])","G="]' },
    ],
    [[`ENV A=${'${B:-'.repeat(20_000)}x${'}'.repeat(20_000)}`], { Env: '["A=x"]' }],
    [['EXPOSE 80/TCP', 'EXPOSE 80'], { ExposedPorts: '{"80/tcp":{}}' }],
    [['EXPOSE 1.2.3.4:80:90'], { ExposedPorts: '{"90/tcp":{}}' }],
    [
      ['ENV P=80', 'EXPOSE $P ${P}0/udp'],
      { Env: '["P=80"]', ExposedPorts: '{"80/tcp":{},"800/udp":{}}' },
    ],
    [['USER  root  '], { User: '"root"' }],
    [['USER $X:${Y:-3}'], { User: '":3"' }],
    [
      ['CMD echo "hi   there"', 'ENTRYPOINT ["a", "b"]'],
      { Cmd: '["/bin/sh","-c","echo \\"hi   there\\""]', Entrypoint: '["a","b"]' },
    ],
    [['CMD'], { Cmd: '["/bin/sh","-c"]' }],
    [['CMD []'], { Cmd: '[]' }],
    [['CMD ["a"'], { Cmd: '["/bin/sh","-c","[\\"a\\""]' }],
    [['CMD a \\\n# comment\n\n b'], { Cmd: '["/bin/sh","-c","a  b"]' }],
    [['ENTRYPOINT'], {}],
    [['label "a b"="c d" e=\'f g\''], { Labels: '{"a b":"c d","e":"f g"}' }],
    [['LABEL a b c'], { Labels: '{"a":"b c"}' }],
    [['HEALTHCHECK NONE'], { Healthcheck: '{"Test":["NONE"]}' }],
    [
      ['HEALTHCHECK --timeout=1m30s --start-period=2s CMD ["a","b"]'],
      { Healthcheck: '{"Test":["CMD","a","b"],"Timeout":90000000000,"StartPeriod":2000000000}' },
    ],
    [['VOLUME /x /y'], { Volumes: '{"/x":{},"/y":{}}' }],
    [['WORKDIR a', 'WORKDIR ../b/./c/'], { WorkingDir: '"/b/c"' }],
    [['onbuild   run   ls'], { OnBuild: '["run   ls"]' }],
  ];
  await t.test('changes', async (t) => {
    const stores = await newStores(t);
    for (const [changes, fields] of made) {
      const { image } = await importImage(sourceOf(rootfs), stores, { platform, created, changes });
      const text = Buffer.from(image.raw).toString();
      t.equal(
        text.slice(text.indexOf('"config":') + '"config":'.length, text.indexOf(',"created"')),
        configText(fields),
        changes.join('; '),
      );
    }
    const { image } = await importImage(sourceOf(rootfs), stores, {
      changes: ['STOPSIGNAL SIGINT'],
    });
    t.equal(image.config.run.stopSignal, 'SIGINT', 'which Docker takes since 25');
  });

  await t.test('changes that Docker refuses, too', async (t) => {
    const stores = await newStores(t);
    const before = whatIsThere(stores);
    const refused = [
      'LABEL a',
      'HEALTHCHECK NONE x',
      'HEALTHCHECK --timeout=1us CMD a',
      'HEALTHCHECK --bogus=1s CMD a',
      'HEALTHCHECK CMD',
      'HEALTHCHECK --retries=-1 CMD a',
      'EXPOSE 99999',
      'EXPOSE 80-70',
      'EXPOSE',
      'VOLUME ""',
      'RUN x',
      'FOO',
      'CMD ["a", 1]',
      'ONBUILD FROM x',
      'ENV A',
      'ENV A=1 B',
      'ENV =x',
      'ENV A="x',
      'ENV A=${B:-${C:-x}',
      'USER',
      '',
    ];
    for (const change of refused)
      await t.rejects(
        importImage(sourceOf(rootfs), stores, { changes: [change] }),
        { code: 'usage' },
        change,
      );
    t.same(whatIsThere(stores), before);
  });

  await t.test('what cannot be imported leaves nothing', async (t) => {
    const stores = await newStores(t);
    const before = whatIsThere(stores);
    const rejected = (
      bytes: Buffer,
      options: ImportOptions,
      expected: { code: string } | { name: string },
    ) => t.rejects(importImage(sourceOf(bytes), stores, options), expected);
    await rejected(rootfs.subarray(0, 700), {}, { code: 'archive-damaged' });
    await rejected(
      rootfs,
      { reference: parseReference('sha256:x') },
      { code: 'reference-invalid' },
    );
    const controller = new AbortController();
    await rejected(
      rootfs,
      { signal: controller.signal, onProgress: () => controller.abort() },
      { name: 'AbortError' },
    );
    t.same(whatIsThere(stores), before);
  });
}
