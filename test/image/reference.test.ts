import t from 'tap';
import {
  canonicalString,
  familiarString,
  parseReference,
  tryParseReference,
  withDefaultTag,
  withTag,
} from '../../src/image/reference.js';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

await t.test(
  'names as people write them, normalised and familiar (distribution/reference, normalize_test.go)',
  async (t) => {
    const cases: readonly (readonly [typed: string, canonical: string, familiar: string])[] = [
      ['ubuntu', 'docker.io/library/ubuntu', 'ubuntu'],
      ['ubuntu:22.04', 'docker.io/library/ubuntu:22.04', 'ubuntu:22.04'],
      ['library/ubuntu', 'docker.io/library/ubuntu', 'ubuntu'],
      ['docker.io/ubuntu', 'docker.io/library/ubuntu', 'ubuntu'],
      ['index.docker.io/library/ubuntu', 'docker.io/library/ubuntu', 'ubuntu'],
      ['private/moonbase', 'docker.io/private/moonbase', 'private/moonbase'],
      ['docker.io/library/foo/bar', 'docker.io/library/foo/bar', 'library/foo/bar'],
      ['localhost/library/bar', 'localhost/library/bar', 'localhost/library/bar'],
      ['localhost:5000/x', 'localhost:5000/x', 'localhost:5000/x'],
      [
        'example.com/private/moonbase:1',
        'example.com/private/moonbase:1',
        'example.com/private/moonbase:1',
      ],
      ['EXAMPLE.com/library/foo', 'EXAMPLE.com/library/foo', 'EXAMPLE.com/library/foo'],
      ['HOST/x', 'HOST/x', 'HOST/x'],
      ['[fe80::1]:5000/x:t', '[fe80::1]:5000/x:t', '[fe80::1]:5000/x:t'],
      ['a__b/c-d---e/f.g_h', 'docker.io/a__b/c-d---e/f.g_h', 'a__b/c-d---e/f.g_h'],
      [`ubuntu@${digest}`, `docker.io/library/ubuntu@${digest}`, `ubuntu@${digest}`],
      [`ubuntu:1@${digest}`, `docker.io/library/ubuntu:1@${digest}`, `ubuntu:1@${digest}`],
      ['x:_', 'docker.io/library/x:_', 'x:_'],
      [`x:${'t'.repeat(128)}`, `docker.io/library/x:${'t'.repeat(128)}`, `x:${'t'.repeat(128)}`],
      ['xn--n3h.com/myimage', 'xn--n3h.com/myimage', 'xn--n3h.com/myimage'],
      // A tag, not a port: there is no slash.
      ['test:5000', 'docker.io/library/test:5000', 'test:5000'],
    ];
    for (const [typed, canonical, familiar] of cases) {
      const reference = parseReference(typed);
      t.equal(canonicalString(reference), canonical, typed);
      t.equal(familiarString(reference), familiar, typed);
      t.same(parseReference(familiar), reference, 'the familiar form means the same');
      t.same(parseReference(canonical), reference, 'so does the whole one');
    }
  },
);

await t.test('what is no name', async (t) => {
  const wrong = [
    '',
    ':tag',
    'Ubuntu',
    'docker/Docker',
    '-docker',
    'docker/docker-',
    'docker///docker',
    'docker.io/docker/docker/',
    'a..b',
    'a___b',
    'a.-b',
    'x:',
    'x:-t',
    `x:${'t'.repeat(129)}`,
    'x@',
    'x@sha256:abc',
    `x@sha512:${'a'.repeat(128)}`,
    `x@${digest.toUpperCase()}`,
    '0123456789abcdef'.repeat(4),
    'x y',
    'x\n',
    '../x',
    'host:port/x',
    '[::1/x',
    'é',
    `${'a/'.repeat(128)}a`,
    'a'.repeat(256),
    'a'.repeat(5000),
  ];
  for (const text of wrong) {
    t.throws(
      () => parseReference(text),
      { code: 'reference-invalid' },
      JSON.stringify(text.slice(0, 40)),
    );
    t.equal(tryParseReference(text), undefined);
  }
});

await t.test('tags', async (t) => {
  t.equal(familiarString(withDefaultTag(parseReference('x'))), 'x:latest');
  t.equal(familiarString(withDefaultTag(parseReference('x:1'))), 'x:1');
  t.equal(
    familiarString(withDefaultTag(parseReference(`x@${digest}`))),
    `x@${digest}`,
    'a digest needs none',
  );
  t.equal(familiarString(withTag(parseReference('x:1'), '2')), 'x:2');
  t.throws(() => withTag(parseReference('x'), '../2'), { code: 'reference-invalid' });
});

await t.test('a hostile name takes no time', async (t) => {
  // Nested repetitions that overlap would take 2^n steps for these.
  for (const text of [
    `${'a-'.repeat(2000)}!`,
    `${'a_'.repeat(2000)}!`,
    `${'a.'.repeat(2000)}!/x`,
    `${'a/'.repeat(2000)}!`,
  ]) {
    t.throws(() => parseReference(text), { code: 'reference-invalid' });
  }
});
