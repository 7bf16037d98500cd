/**
 * ply and Debian's docker-registry, open, with passwords, with TLS and with a token service: what
 * ply pushes dockerd, podman and skopeo pull, with the same digests and ids.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { sha256 } from '../../src/base/digest.js';
import { run, succeed } from '../support/command.js';
import {
  REGISTRY_PASSWORD,
  REGISTRY_USER,
  startDebianRegistry,
  type DebianRegistry,
} from '../support/debian-registry.js';
import { plyProgram } from '../support/ply.js';
import { startDockerd } from '../support/private-dockerd.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(600_000);

const kinds = [
  { name: 'open' },
  { name: 'with passwords', authorization: 'htpasswd' },
  { name: 'with passwords and TLS', authorization: 'htpasswd', tls: true },
  { name: 'with tokens', authorization: 'token' },
] as const;

if (process.getuid?.() !== 0) t.pass('needs root', { skip: 'engines need root' });
else {
  const base = await workspace(t, 'home', 'root', 'exec', 'fs/etc', 'big');
  const env = { ...process.env, HOME: join(base, 'home'), XDG_RUNTIME_DIR: join(base, 'home/run') };
  const ply = (words: readonly string[], input = ''): Promise<string> =>
    succeed([plyProgram, '--root', join(base, 'ply'), ...words], { env, input });
  await writeFile(join(base, 'fs/etc/greeting'), 'hello\n');
  await writeFile(join(base, 'big/noise'), randomBytes(16 << 20));
  for (const name of ['fs', 'big'])
    await succeed(['tar', '-cf', join(base, `${name}.tar`), '-C', join(base, name), '.']);
  const id = (await ply(['import', join(base, 'fs.tar'), 'app:1'])).trim();
  const { docker } = await startDockerd(t, base, { storageDriver: 'vfs' });

  /** With the authority where there is one. */
  const trusted = async ({ host, authority }: DebianRegistry): Promise<void> => {
    if (authority === undefined) return;
    const directory = join(base, 'home/.config/containers/certs.d', host);
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'ca.crt'), authority);
  };

  for (const { name, ...options } of kinds) {
    await t.test(name, async (t) => {
      const own = await workspace(t);
      const registry = await startDebianRegistry(t, { base: own, ...options });
      const { host, authority } = registry;
      const image = `${host}/team/app:1`;
      const secret = 'authorization' in options;
      if (authority !== undefined) {
        const outcome = await run(
          [plyProgram, 'login', '-u', REGISTRY_USER, '--password-stdin', host],
          { env, input: REGISTRY_PASSWORD },
        );
        t.equal(outcome.status, 1, 'a stranger’s certificate is not believed');
        t.match(outcome.stderr, /certificate of .* is not believed/);
      }
      await trusted(registry);
      if (secret)
        await ply(['login', '-u', REGISTRY_USER, '--password-stdin', host], REGISTRY_PASSWORD);
      await ply(['tag', 'app:1', image]);
      const [pushed] = JSON.parse(await ply(['--json', 'push', image])) as [{ digest: string }];

      const creds = secret ? ['--creds', `${REGISTRY_USER}:${REGISTRY_PASSWORD}`] : [];
      const tls = [`--tls-verify=${authority !== undefined}`];
      const certificates =
        authority === undefined
          ? []
          : ['--cert-dir', join(base, 'home/.config/containers/certs.d', host)];
      const raw = await succeed([
        ...['skopeo', 'inspect', '--raw', ...creds, ...tls, ...certificates],
        `docker://${image}`,
      ]);
      t.equal(sha256(Buffer.from(raw, 'latin1')), pushed.digest, 'skopeo sees that manifest');
      t.equal(
        sha256(Buffer.from(await ply(['manifest', 'inspect', image]), 'latin1').subarray(0, -1)),
        pushed.digest,
      );
      t.equal(await ply(['tags', `${host}/team/app`]), '1\n');
      const podman = ['podman', '--root', `${own}/podman`, '--runroot', `${own}/run`];
      const pulled = await succeed([
        ...podman,
        ...['--storage-driver', 'vfs', 'pull', '-q', ...creds, ...tls, ...certificates, image],
      ]);
      t.equal(`sha256:${pulled.trim()}`, id, 'podman has the same image');

      if (authority !== undefined) return;
      if (secret) await docker('login', '-u', REGISTRY_USER, '-p', REGISTRY_PASSWORD, host);
      await docker('pull', image);
      t.equal(await docker('inspect', '-f', '{{.Id}}', image), id, 'so has dockerd');
      const copy = `${host}/team/copy:1`;
      await docker('tag', image, copy);
      t.match(await docker('push', copy), new RegExp(`digest: ${pushed.digest}`));
      await docker('rmi', image, copy);
    });
  }

  await t.test('killed in the middle and repeated', async (t) => {
    const own = await workspace(t);
    const { host } = await startDebianRegistry(t, { base: own });
    const image = `${host}/big:1`;
    await ply(['import', join(base, 'big.tar'), image]);
    const child = spawn(plyProgram, ['--root', join(base, 'ply'), 'push', image], {
      env,
      stdio: 'ignore',
    });
    const ended = once(child, 'exit');
    const uploads = join(own, 'storage/docker/registry/v2/repositories/big/_uploads');
    const begun = (): boolean => {
      try {
        return readdirSync(uploads).length > 0;
      } catch {
        return false;
      }
    };
    while (!begun() && child.exitCode === null) await delay(5);
    child.kill('SIGKILL');
    await ended;
    t.same(readdirSync(join(base, 'ply/plyfs/tmp')), [], 'nothing of it stays');
    t.not((await run(['skopeo', 'inspect', '--tls-verify=false', `docker://${image}`])).status, 0);
    await ply(['push', image]);
    await succeed([
      'skopeo',
      'copy',
      '--src-tls-verify=false',
      `docker://${image}`,
      `dir:${own}/d`,
    ]);
  });
}
