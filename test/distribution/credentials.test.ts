import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import t, { type Test } from 'tap';
import {
  credentialsFor,
  eraseCredentials,
  saveCredentials,
  type Credentials,
} from '../../src/distribution/credentials.js';
import { Secret } from '../../src/distribution/secret.js';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** A user's directory, with the variables that lead there and nothing of this machine's. */
function userOf(
  t: Test,
  files: Record<string, unknown> = {},
): { home: string; environment: Record<string, string> } {
  const home = t.testdir();
  const environment = {
    HOME: home,
    XDG_RUNTIME_DIR: join(home, 'run'),
    PATH: `${join(home, 'bin')}:${process.env['PATH'] ?? ''}`,
  };
  for (const [path, content] of Object.entries(files)) {
    const full = join(home, path);
    mkdirSync(join(full, '..'), { recursive: true });
    writeFileSync(full, typeof content === 'string' ? content : JSON.stringify(content));
  }
  return { home, environment };
}

/** `name:secret`, and the kind where that is not a password. */
function told(credentials: Credentials | undefined): string | undefined {
  if (credentials === undefined) return undefined;
  switch (credentials.kind) {
    case 'password':
      return `${credentials.username}:${credentials.password.reveal()}`;
    case 'identity-token':
      return `identity ${credentials.username}:${credentials.token.reveal()}`;
    case 'registry-token':
      return `registry ${credentials.token.reveal()}`;
  }
}

/** A credential helper as a shell script over files, which writes down how it was called. */
function installHelper(home: string, name: string): void {
  mkdirSync(join(home, 'bin'), { recursive: true });
  mkdirSync(join(home, 'kept'), { recursive: true });
  const path = join(home, 'bin', `docker-credential-${name}`);
  writeFileSync(
    path,
    `#!/bin/sh
echo "$0 $*" >> ${home}/calls
input=$(cat)
server=$(printf %s "$input" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/')
file=${home}/kept/$(printf %s "$server" | tr / _)
case $1 in
store) printf %s "$input" > "$file" ;;
get) test -e "$file" && cat "$file" || { echo 'credentials not found in native keychain'; exit 1; } ;;
erase) rm "$file" ;;
esac
`,
  );
  chmodSync(path, 0o755);
}

await t.test('docker’s and podman’s files, the names they use, and which counts', async (t) => {
  const { environment } = userOf(t, {
    '.docker/config.json': {
      auths: {
        'https://index.docker.io/v1/': { auth: base64('hub:one') },
        'a.example:5000': { auth: base64('a:with:colons') },
        'https://old.example/v1/': { auth: base64('old:two') },
        'split.example': { username: 'split', password: 'three' },
        'token.example': { auth: base64('token:'), identitytoken: 'four' },
        'bearer.example': { registrytoken: 'five' },
        'helper.example': {},
      },
    },
    'run/containers/auth.json': {
      auths: {
        'a.example:5000': { auth: base64('not:this') },
        'a.example:5000/team': { auth: base64('not:this either') },
        'deep.example': { auth: base64('all:six') },
        'deep.example/team': { auth: base64('team:seven') },
        'deep.example/team/app': { auth: base64('app:eight') },
        'helper.example': { auth: base64('later:nine') },
      },
    },
    '.config/containers/auth.json': { auths: { 'last.example': { auth: base64('last:ten') } } },
  });
  const cases = {
    'docker.io/library/debian': 'hub:one',
    'docker.io': 'hub:one',
    'a.example:5000/team/x': 'a:with:colons',
    'a.example/x': undefined,
    'old.example/x': 'old:two',
    'split.example/x': 'split:three',
    'token.example/x': 'identity token:four',
    'bearer.example/x': 'registry five',
    'deep.example/team/app': 'app:eight',
    'deep.example/team/other': 'team:seven',
    'deep.example/teams': 'all:six',
    'helper.example/x': 'later:nine',
    'last.example/x/y': 'last:ten',
    'nobody.example/x': undefined,
  };
  for (const [scope, expected] of Object.entries(cases))
    t.equal(told(await credentialsFor(scope, environment)), expected, scope);

  const own = join(environment['HOME']!, 'own.json');
  writeFileSync(own, JSON.stringify({ auths: { 'docker.io': { auth: base64('own:file') } } }));
  const named = { ...environment, REGISTRY_AUTH_FILE: own };
  t.equal(told(await credentialsFor('docker.io/x/y', named)), 'own:file', 'podman’s name of it');
  t.equal(
    told(await credentialsFor('last.example/x', named)),
    undefined,
    'the others are not read',
  );
  const docker = { ...environment, DOCKER_CONFIG: join(environment['HOME']!, 'none') };
  t.equal(told(await credentialsFor('docker.io/x/y', docker)), undefined, 'DOCKER_CONFIG');
});

await t.test('helpers are asked by docker’s protocol', async (t) => {
  const { home, environment } = userOf(t, {
    '.docker/config.json': {
      credsStore: 'chain',
      credHelpers: { 'own.example': 'other', 'broken.example': 'missing', 'x.example': '../evil' },
    },
  });
  installHelper(home, 'chain');
  installHelper(home, 'other');
  const keep = (server: string, username: string, secret: string): void =>
    writeFileSync(
      join(home, 'kept', server.replaceAll('/', '_')),
      JSON.stringify({ ServerURL: server, Username: username, Secret: secret }),
    );
  keep('https://index.docker.io/v1/', 'hub', 'one');
  keep('own.example', '<token>', 'two');
  t.equal(told(await credentialsFor('docker.io/library/x', environment)), 'hub:one');
  t.equal(told(await credentialsFor('own.example/x', environment)), 'identity :two');
  t.equal(told(await credentialsFor('nobody.example/x', environment)), undefined);
  t.match(readFileSync(join(home, 'calls'), 'utf8'), /docker-credential-other get\n/);
  await t.rejects(credentialsFor('broken.example/x', environment), {
    code: 'credential-helper-failed',
    message: /docker-credential-missing failed \(no such program/,
  });
  await t.rejects(
    credentialsFor('x.example/x', environment),
    { code: 'credential-helper-failed' },
    'a helper is a name, not a path',
  );
});

await t.test('what is kept is found again, by docker and podman too, and forgotten', async (t) => {
  const { home, environment } = userOf(t, {
    'elsewhere/config.json': {
      HttpHeaders: { 'X-Meta': '1' },
      auths: {
        'https://h.example/v1/': { auth: base64('former:secret') },
        'h.example/team': { auth: base64('team:secret') },
      },
    },
  });
  mkdirSync(join(home, '.docker'));
  const path = join(home, '.docker/config.json');
  symlinkSync('../elsewhere/config.json', path);
  const password = { kind: 'password', username: 'me', password: new Secret('pa:ss') } as const;
  await saveCredentials('h.example', password, environment);
  await saveCredentials('docker.io', password, environment);
  const token = { kind: 'identity-token', username: 'me', token: new Secret('tok') } as const;
  await saveCredentials('t.example', token, environment);
  t.ok(lstatSync(path).isSymbolicLink(), 'a link to the file stays one');
  t.equal(statSync(path).mode & 0o7777, 0o600);
  t.same(JSON.parse(readFileSync(path, 'utf8')), {
    HttpHeaders: { 'X-Meta': '1' },
    auths: {
      'h.example/team': { auth: base64('team:secret') },
      'h.example': { auth: base64('me:pa:ss') },
      'https://index.docker.io/v1/': { auth: base64('me:pa:ss') },
      't.example': { auth: base64('me:'), identitytoken: 'tok' },
    },
  });
  t.equal(told(await credentialsFor('h.example/x', environment)), 'me:pa:ss');
  t.equal(told(await credentialsFor('t.example/x', environment)), 'identity me:tok');
  t.equal((await eraseCredentials('docker.io', environment)).erased, true);
  t.equal((await eraseCredentials('docker.io', environment)).erased, false);
  t.equal((await eraseCredentials('h.example', environment)).erased, true);
  t.equal(told(await credentialsFor('h.example/x', environment)), undefined);
  t.equal(told(await credentialsFor('h.example/team', environment)), 'team:secret');
  await t.rejects(
    saveCredentials('h.example', { ...password, username: 'a:b' }, environment),
    { code: 'credentials-invalid' },
    'nobody could read it back',
  );
});

await t.test('with a helper nothing secret is in the file or among its arguments', async (t) => {
  const { home, environment } = userOf(t, { '.docker/config.json': { credsStore: 'chain' } });
  installHelper(home, 'chain');
  const password = { kind: 'password', username: 'me', password: new Secret('hush') } as const;
  const { helper } = await saveCredentials('h.example', password, environment);
  t.equal(helper, 'chain');
  t.equal(told(await credentialsFor('h.example/x', environment)), 'me:hush');
  for (const name of ['.docker/config.json', 'calls'])
    t.notMatch(readFileSync(join(home, name), 'utf8'), /hush/, name);
  t.equal((await eraseCredentials('h.example', environment)).erased, true);
  t.equal(told(await credentialsFor('h.example/x', environment)), undefined);
});

await t.test('files that are none', async (t) => {
  for (const [content, message] of [
    ['{', /config\.json is not JSON/],
    ['[]', /an object/],
    ['{"auths":{"h.example":"x"}}', /auths\.h\.example/],
    [`{"auths":{"h.example":{"auth":"${base64('nocolon')}"}}}`, /ply login h\.example/],
    ['['.repeat(100), /not believed/],
  ] as const) {
    const { environment } = userOf(t, { '.docker/config.json': content });
    await t.rejects(credentialsFor('h.example/x', environment), {
      code: 'credentials-invalid',
      message,
    });
  }
  const { home, environment } = userOf(t);
  mkdirSync(join(home, '.docker/config.json'), { recursive: true });
  await t.rejects(credentialsFor('h.example/x', environment), { code: 'config-unreadable' });
});

await t.test('a secret shows itself nowhere', async (t) => {
  const secret = new Secret('hush');
  for (const text of [
    String(secret),
    secret.toString(),
    JSON.stringify({ secret }),
    inspect({ secret }, { showHidden: true, depth: 9 }),
    new Error('x', { cause: { secret } }).stack ?? '',
  ])
    t.notMatch(text, /hush/);
  t.equal(secret.reveal(), 'hush');
});
