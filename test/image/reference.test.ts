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

await t.test(
  'the examples of distribution/reference (reference_test.go, normalize_test.go)',
  async (t) => {
    const hex = 'f'.repeat(64);
    const taken = [
      'test_com',
      'test.com:tag',
      'test.com/repo:tag',
      'test:5000/repo',
      `test:5000/repo:tag@sha256:${hex}`,
      'lowercase:Uppercase',
      `${'a/'.repeat(127)}a:tag-puts-this-over-max`,
      'sub-dom1.foo.com/bar/baz/quux:some-long-tag',
      'b.gcr.io/test.example.com/my-app:test.example.com',
      'xn--n3h.com/myimage:xn--n3h.com',
      'foo_bar.com:8080',
      'foo/foo_bar.com:8080',
      '192.168.1.1',
      '192.168.1.1:5000',
      '192.168.1.1/repo',
      '192.168.1.1:5000/repo:5050',
      '[2001:db8::1]/repo',
      '[2001:db8:1:2:3:4:5:6]/repo:tag',
      `[2001:db8::1]:5000/repo:tag@sha256:${hex}`,
      '[2001:db8::]:5000/repo',
      'docker.io/1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a',
      'Docker/docker',
      'Uppercase/lowercase:tag',
      'thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev',
      'docker---rules/docker',
      'd/docker',
      'dock__er/docker',
      'registry.io/foo/project--id.module--name.ver---sion--name',
      'example.com/some_separator__underscore/myimage',
      `localhost:8080@sha256:${hex}`,
      '192.168.1.1:750050/repo',
    ];
    for (const text of taken) t.ok(tryParseReference(text), text);
    const refused = [
      ':justtag',
      `@sha256:${hex}`,
      `repo@sha256:${'f'.repeat(34)}`,
      `validname@invaliddigest:${hex}`,
      'Uppercase:tag',
      'test:5000/Uppercase/lowercase:tag',
      'aa/asdf$$^/aa',
      '[2001:db8::1]',
      '[2001:db8::1]:5000',
      '[2001:db8::1]:tag',
      '[fe80::1%eth0]:5000/repo',
      '[fe80::1%@invalidzone]:5000/repo',
      '[2001:db8:3:4::192.0.2.33]:5000/debian',
      '[fd00:1:2::3]75050/x',
      'https://github.com/docker/docker',
      '-docker/docker',
      '-docker.io/docker/docker',
      'docker.io/docker/Docker',
      'docker.io/docker///docker',
      'fc00::1:5000/debian',
      'docker-/docker',
      '____/____',
      '_docker/_docker',
      'dock..er/docker',
      'dock_.er/docker',
      'dock-.er/docker',
      'docker/',
      'docker./docker',
      '.docker/docker',
      'do__cker:8080/docker',
      'foo_bar.com:8080/app',
      'foo.com:http/bar',
      'example.com/__underscore/myimage',
      'example.com/..dots/myimage',
      'registry.com:8080/myapp:invalid~tag',
      'registry.com:8080/myapp@bad',
      `${'a'.repeat(256)}/docker`,
      'ab-.com/x',
      'ab.-com/x',
    ];
    for (const text of refused) t.notOk(tryParseReference(text), text);
  },
);
