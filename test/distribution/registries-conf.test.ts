import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { certificatesFor } from '../../src/distribution/certificates.js';
import {
  pullEndpoints,
  pushEndpoint,
  type EndpointOptions,
} from '../../src/distribution/endpoints.js';
import {
  merged,
  NO_REGISTRIES_CONF,
  readRegistriesConf,
  type RegistriesConf,
} from '../../src/distribution/registries-conf.js';
import { pullCandidates } from '../../src/distribution/short-names.js';
import { canonicalString, parseReference } from '../../src/image/reference.js';

const confOf = (...texts: string[]): RegistriesConf =>
  texts.reduce((conf, text) => merged(conf, text, 'registries.conf'), NO_REGISTRIES_CONF);

/** Where a pull goes: `host/repository`, with what is unusual about it. */
function ways(name: string, conf: RegistriesConf, options?: EndpointOptions): string[] {
  return pullEndpoints(parseReference(name), conf, options).map(
    ({ host, repository, verify, http, mirror }) =>
      [
        `${host}/${repository}`,
        ...(verify ? [] : ['unverified']),
        ...(http ? ['http'] : []),
        ...(mirror ? ['mirror'] : []),
      ].join(' '),
  );
}

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

await t.test('without configuration', async (t) => {
  const none = NO_REGISTRIES_CONF;
  t.same(ways('debian', none), ['registry-1.docker.io/library/debian']);
  t.same(ways('quay.io/a/b:1', none), ['quay.io/a/b']);
  t.same(ways('localhost:5000/x', none), ['localhost:5000/x http']);
  t.same(ways('127.1.2.3/x', none), ['127.1.2.3/x http']);
  t.same(ways('[::1]:5000/x', none), ['[::1]:5000/x http']);
  t.same(ways('127.example.com/x', none), ['127.example.com/x']);
  t.same(ways('quay.io/x', none, { tlsVerify: false }), ['quay.io/x unverified http']);
  t.same(ways('localhost/x', none, { tlsVerify: true }), ['localhost/x']);
  const [hub] = pullEndpoints(parseReference('debian'), none);
  t.match(hub, { scope: 'docker.io/library/debian', configHost: 'docker.io' });
});

await t.test('the example of containers-registries.conf(5), and more of its words', async (t) => {
  const conf = confOf(`
unqualified-search-registries = ["example.com"]

[[registry]]
prefix = "example.com/foo"
insecure = false
blocked = false
location = "internal-registry-for-example.com/bar"

[[registry.mirror]]
location = "example-mirror-0.local/mirror-for-foo"

[[registry.mirror]]
location = "example-mirror-1.local/mirrors/foo"
insecure = true

[[registry]]
location = "registry.com"

[[registry.mirror]]
location = "mirror.registry.com"

[[registry]]
prefix = "docker.io/library"
location = "quay.io/libpod"

[[registry]]
prefix = "example.com/foo/secret"
location = "example.com/foo/secret"
blocked = true

[[registry]]
prefix = "*.wild.example"
insecure = true

[[registry]]
prefix = "*.moved.example"
location = "new.example/all"
`);
  t.same(ways('example.com/foo/image:latest', conf), [
    'example-mirror-0.local/mirror-for-foo/image mirror',
    'example-mirror-1.local/mirrors/foo/image unverified http mirror',
    'internal-registry-for-example.com/bar/image',
  ]);
  t.same(ways('example.com/foobar', conf), ['example.com/foobar'], 'a prefix ends at a separator');
  t.same(ways('example.com:5000/foo/x', conf), ['example.com:5000/foo/x']);
  t.same(ways('registry.com/x', conf), ['mirror.registry.com/x mirror', 'registry.com/x']);
  t.same(ways('registry.com:5000/x', conf), ['registry.com:5000/x'], 'another registry');
  t.same(ways('debian:12', conf), ['quay.io/libpod/debian']);
  t.same(ways('a.b.wild.example/x', conf), ['a.b.wild.example/x unverified http']);
  t.same(ways('wild.example/x', conf), ['wild.example/x']);
  t.same(ways('a.moved.example/x/y', conf), ['new.example/all/x/y']);
  t.throws(() => ways('example.com/foo/secret:1', conf), { code: 'registry-blocked' });
  t.match(pullEndpoints(parseReference('example.com/foo/x'), conf)[0], {
    scope: 'example-mirror-0.local/mirror-for-foo/x',
    configHost: 'example-mirror-0.local',
  });
  t.match(
    pushEndpoint(parseReference('example.com/foo/x'), conf),
    { host: 'example.com', repository: 'foo/x', mirror: false },
    'a push goes where the name says',
  );
});

await t.test('mirrors for tags and for digests', async (t) => {
  const conf = confOf(`
[[registry]]
location = "r.example"
[[registry.mirror]]
location = "digests.example"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tags.example"
pull-from-mirror = "tag-only"
[[registry]]
location = "d.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.example"
`);
  t.same(ways('r.example/x:1', conf), ['tags.example/x mirror', 'r.example/x']);
  t.same(ways(`r.example/x@${digest}`, conf), ['digests.example/x mirror', 'r.example/x']);
  t.same(ways('d.example/x', conf), ['d.example/x']);
  t.same(ways(`d.example/x@${digest}`, conf), ['m.example/x mirror', 'd.example/x']);
});

await t.test('short names', async (t) => {
  const candidates = (text: string, conf: RegistriesConf): string[] =>
    pullCandidates(text, conf).map(canonicalString);
  t.same(candidates('debian:12', NO_REGISTRIES_CONF), ['docker.io/library/debian:12']);
  const conf = confOf(
    `unqualified-search-registries = ["one.example", "two.example:5000"]
[aliases]
"fedora" = "registry.fedoraproject.org/fedora"
"team/app" = "quay.io/team/app"
"gone" = "gone.example/gone"`,
    `[aliases]
"gone" = ""
"bad" = "no-registry"
"tagged" = "quay.io/x:1"`,
  );
  t.same(candidates('fedora:41', conf), ['registry.fedoraproject.org/fedora:41']);
  t.same(candidates(`team/app@${digest}`, conf), [`quay.io/team/app@${digest}`]);
  t.same(candidates('gone', conf), ['one.example/gone', 'two.example:5000/gone']);
  t.same(candidates('localhost/fedora', conf), ['localhost/fedora']);
  t.same(candidates('docker.io/fedora', conf), ['docker.io/library/fedora']);
  for (const name of ['bad', 'tagged'])
    t.throws(() => candidates(name, conf), { code: 'registries-conf-invalid' });
  const strict = confOf(
    'unqualified-search-registries = ["a.example", "b.example"]\nshort-name-mode = "enforcing"',
  );
  t.throws(() => candidates('x', strict), {
    code: 'short-name-ambiguous',
    message: /a\.example\/x/,
  });
});

await t.test(
  'which files are read, and that later ones replace what earlier ones say',
  async (t) => {
    const home = t.testdir();
    const directory = join(home, '.config/containers');
    mkdirSync(join(directory, 'registries.conf.d'), { recursive: true });
    writeFileSync(
      join(directory, 'registries.conf'),
      'unqualified-search-registries = ["a.example"]\n[[registry]]\nlocation = "r.example"\ninsecure = true\n',
    );
    writeFileSync(
      join(directory, 'registries.conf.d/50-b.conf'),
      '[[registry]]\nlocation = "r.example"\nblocked = true\n',
    );
    writeFileSync(join(directory, 'registries.conf.d/40-a.conf'), 'short-name-mode = "disabled"\n');
    writeFileSync(join(directory, 'registries.conf.d/60-c.toml'), 'is not read');
    const conf = readRegistriesConf({ HOME: home });
    t.same([...conf.searchRegistries], ['a.example']);
    t.equal(conf.shortNameMode, 'disabled');
    t.match(conf.registries.get('r.example'), { blocked: true, insecure: false });
    const named = join(home, 'other.conf');
    writeFileSync(named, 'unqualified-search-registries = ["named.example"]');
    t.same(
      [
        ...readRegistriesConf({ HOME: join(home, 'empty'), CONTAINERS_REGISTRIES_CONF: named })
          .searchRegistries,
      ],
      ['named.example'],
    );
  },
);

await t.test('what is no registries.conf', async (t) => {
  for (const [text, message] of [
    ['x = [', /is not TOML at line 1, column/],
    ["[registries.search]\nregistries = ['a']", /version 1/],
    ['[[registry]]\nprefix = "a.example"', /no location/],
    ['[[registry]]', /neither a prefix nor a location/],
    ['[[registry]]\nlocation = "https://a.example"', /scheme/],
    ['[[registry]]\nlocation = "a.example"\ninsecure = "yes"', /true or false/],
    ['[[registry]]\nlocation = "a.example"\n[[registry]]\nlocation = "a.example"', /two tables/],
    ['[[registry]]\nprefix = "*.a.example/x"', /\*\. and a host/],
    ['unqualified-search-registries = "a"', /an array/],
    ['unqualified-search-registries = ["a/b"]', /"a\/b"/],
    ['short-name-mode = "maybe"', /enforcing/],
    [
      '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\nlocation = "b.example"\npull-from-mirror = "no"',
      /digest-only/,
    ],
  ] as const)
    t.throws(() => confOf(text), { code: 'registries-conf-invalid', message }, text);
  const odd = confOf('[[registry]]\nprefix = "a.example"\nlocation = "docker"');
  t.throws(() => ways('a.example/x', odd), { code: 'registries-conf-invalid' }, 'no host there');
});

await t.test('certs.d', async (t) => {
  const home = t.testdir();
  const directory = join(home, '.config/containers/certs.d/h.example:5000');
  mkdirSync(directory, { recursive: true });
  const pem = (label: string): string => `-----BEGIN ${label}-----\nAA==\n-----END ${label}-----\n`;
  const put = (name: string, text: string): void => writeFileSync(join(directory, name), text);
  put('ca.crt', pem('CERTIFICATE'));
  put('client.cert', pem('CERTIFICATE'));
  put('client.key', pem('EC PRIVATE KEY'));
  const environment = { HOME: home };
  const before = certificatesFor('other.example', environment);
  t.ok(before.authorities.length > 0, 'the system’s');
  t.same(before.clients, []);
  const found = certificatesFor('h.example:5000', environment);
  t.equal(found.authorities.length, before.authorities.length + 1);
  t.match(found.clients, [{ certificate: /BEGIN CERTIFICATE/, key: /BEGIN EC PRIVATE KEY/ }]);
  rmSync(join(directory, 'client.key'));
  const invalid = { code: 'certificates-invalid' };
  t.throws(() => certificatesFor('h.example:5000', environment), {
    ...invalid,
    message: /client\.cert has no key/,
  });
  renameSync(join(directory, 'client.cert'), join(directory, 'other.key'));
  t.throws(() => certificatesFor('h.example:5000', environment), {
    ...invalid,
    message: /other\.key has no certificate/,
  });
  rmSync(join(directory, 'other.key'));
  put('ca.crt', 'nothing');
  t.throws(() => certificatesFor('h.example:5000', environment), { ...invalid, message: /PEM/ });
});
