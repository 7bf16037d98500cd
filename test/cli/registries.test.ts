/** ply login, logout and push, as programs, against a registry in this process. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startMemoryRegistry } from '../support/memory-registry.js';
import { run, succeed, type Outcome } from '../support/command.js';
import { plyProgram } from '../support/ply.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(300_000);

interface User {
  readonly base: string;
  readonly ply: (words: readonly string[], input?: string) => Promise<Outcome>;
  readonly configPath: string;
}

/** With a home and a data root of its own. */
async function userOf(t: Test): Promise<User> {
  const base = await workspace(t, 'home', 'fs/etc');
  const env = {
    ...process.env,
    HOME: join(base, 'home'),
    XDG_RUNTIME_DIR: join(base, 'home/run'),
    DOCKER_CONFIG: '',
    REGISTRY_AUTH_FILE: '',
  };
  return {
    base,
    configPath: join(base, 'home/.docker/config.json'),
    ply: (words, input) =>
      run([plyProgram, '--root', join(base, 'root'), ...words], {
        env,
        ...(input !== undefined && { input }),
      }),
  };
}

for (const authorization of ['basic', 'token'] as const) {
  await t.test(`who logs in may push, by ${authorization}`, async (t) => {
    const registry = await startMemoryRegistry(t, { users: { me: 'hush:hush' }, authorization });
    const { ply, base, configPath } = await userOf(t);
    const login = ['login', '--username', 'me', '--password-stdin', registry.host];

    const refused = await ply(login, 'wrong\n');
    t.equal(refused.status, 1);
    t.match(refused.stderr, /^ply: .*127\.0\.0\.1:[0-9]+.*log in/);
    t.notMatch(refused.stderr, /wrong/);
    t.notOk(existsSync(configPath), 'what is refused is not kept');

    const accepted = await ply(login, 'hush:hush\n');
    t.match(accepted, { status: 0, stdout: 'Login Succeeded\n' });
    t.match(accepted.stderr, /config\.json/, 'it says that the file is not encrypted');
    t.equal(statSync(configPath).mode & 0o7777, 0o600);
    t.match(
      (JSON.parse(readFileSync(configPath, 'utf8')) as { auths: unknown }).auths,
      authorization === 'basic'
        ? { [registry.host]: { auth: Buffer.from('me:hush:hush').toString('base64') } }
        : { [registry.host]: { identitytoken: 'identity-of-me' } },
    );
    t.match(await ply(['login', registry.host]), { status: 0 }, 'still known');

    await succeed(['tar', '-cf', join(base, 'fs.tar'), '-C', join(base, 'fs'), '.']);
    const name = `${registry.host}/team/app`;
    await ply(['import', join(base, 'fs.tar'), `${name}:1`]);
    await ply(['tag', `${name}:1`, `${name}:2`]);
    const pushed = await ply(['push', `${name}:1`]);
    t.match(
      pushed.stdout,
      /^The push refers to repository \[127.*\/team\/app\]\n1: digest: sha256:[0-9a-f]{64} size: [0-9]+\n$/,
    );
    const both = await ply(['push', '--quiet', '--all-tags', name]);
    t.match(both, { status: 0, stdout: `${name}:1\n${name}:2\n`, stderr: '' });
    t.same(
      [...registry.repository('team/app').manifests.keys()].filter((key) => !key.includes(':')),
      ['1', '2'],
    );
    t.match(JSON.parse((await ply(['--json', 'push', `${name}:1`])).stdout), [
      { tag: `${name}:1`, digest: /^sha256:/ },
    ]);
    t.match((await ply(['inspect', `${name}:1`])).stdout, /RepoDigests[^\]]*team\/app@sha256:/);

    t.match((await ply(['logout', registry.host])).stdout, /^Removing login credentials/);
    t.match((await ply(['logout', registry.host])).stdout, /^Not logged in/);
    const after = await ply(['push', `${name}:1`]);
    t.equal(after.status, 1);
    t.match(after.stderr, /ply login/);
    for (const { stdout, stderr } of [accepted, pushed, after])
      t.notMatch(stdout + stderr, /hush|identity-of|token-[0-9]/, 'nothing secret is printed');
  });
}

await t.test('what is asked wrongly', async (t) => {
  const { ply } = await userOf(t);
  for (const [words, message] of [
    [['login', '--username', 'me', 'localhost:1'], /--password-stdin/],
    [['login', '--password-stdin', 'localhost:1'], /--username/],
    [['login', '-u', 'me', '--password-stdin', 'a b'], /'a b' is not the name of a registry/],
    [['push', 'localhost:1/x@sha256:' + '0'.repeat(64)], /digest cannot be pushed/],
    [['push', '--all-tags', 'localhost:1/x:1'], /without a tag/],
    [['push', '--tls-verify=maybe', 'localhost:1/x'], /true, false/],
  ] as const) {
    const outcome = await ply(words, '');
    t.equal(outcome.status, 2, words.join(' '));
    t.match(outcome.stderr, message);
  }
  const missing = await ply(['push', 'localhost:1/x']);
  t.match(missing, { status: 1, stderr: /no image localhost:1\/x:latest/ });
});
