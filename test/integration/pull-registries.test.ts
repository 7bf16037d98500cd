/**
 * Images that skopeo put into Debian's docker-registry, pulled: open, with passwords, with a token
 * service, and by TLS with an authority of its own. Ids and digests are those that skopeo says.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import {
  REGISTRY_PASSWORD,
  REGISTRY_USER,
  startDebianRegistry,
} from '../support/debian-registry.js';
import { plyOn, plyProgram } from '../support/ply.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(600_000);

const kinds = [
  { authorization: 'none', tls: false },
  { authorization: 'htpasswd', tls: false },
  { authorization: 'token', tls: false },
  { authorization: 'token', tls: true },
] as const;

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const base = await workspace(t, 'made');
  const made = join(base, 'made');
  const own = plyOn(join(base, 'own'));
  mkdirSync(join(made, 'tree/etc'), { recursive: true });
  writeFileSync(join(made, 'tree/etc/motd'), 'below\n');
  await succeed(['tar', '-C', join(made, 'tree'), '-cf', join(made, 'layer.tar'), '.']);
  await own('import', '-q', join(made, 'layer.tar'), 'base:1');
  await own('create', '--name', 'two', 'base:1', 'true');
  await own('save', '-q', '-o', join(made, 'image.tar'), 'base:1');

  for (const { authorization, tls } of kinds)
    for (const format of ['v2s2', 'oci'] as const)
      await t.test(`${authorization}${tls ? ', TLS' : ''}, ${format}`, async (t) => {
        const place = await workspace(t, 'registry', 'home');
        const registry = await startDebianRegistry(t, {
          base: join(place, 'registry'),
          authorization,
          tls,
        });
        const home = join(place, 'home');
        if (registry.authority !== undefined) {
          const directory = join(home, '.config/containers/certs.d', registry.host);
          mkdirSync(directory, { recursive: true });
          writeFileSync(join(directory, 'ca.crt'), registry.authority);
        }
        const login = `${REGISTRY_USER}:${REGISTRY_PASSWORD}`;
        const credentials = authorization === 'none' ? [] : [login];
        const name = `${registry.host}/team/x:1`;
        await succeed([
          ...['skopeo', 'copy', '--quiet', '--format', format, '--dest-tls-verify=false'],
          ...credentials.flatMap((each) => ['--dest-creds', each]),
          ...[`docker-archive:${join(made, 'image.tar')}`, `docker://${name}`],
        ]);
        const inspected = JSON.parse(
          await succeed([
            ...['skopeo', 'inspect', '--raw', '--tls-verify=false'],
            ...credentials.flatMap((each) => ['--creds', each]),
            `docker://${name}`,
          ]),
        ) as { config: { digest: string } };
        const env = {
          ...process.env,
          HOME: home,
          DOCKER_CONFIG: join(home, '.docker'),
        };
        const root = join(place, 'data');
        const pull = (): ReturnType<typeof run> =>
          run([plyProgram, '--root', root, 'pull', '-q', name], { env });
        if (authorization !== 'none') {
          t.match(await pull(), { status: 1, stderr: /ply login/ });
          mkdirSync(join(home, '.docker'), { recursive: true });
          const auth = Buffer.from(login).toString('base64');
          writeFileSync(
            join(home, '.docker/config.json'),
            JSON.stringify({ auths: { [registry.host]: { auth } } }),
          );
        }
        t.match(await pull(), { status: 0, stdout: `${name}\n` });
        const images = await plyOn(root)('images', '--no-trunc', '-q');
        t.equal(images, inspected.config.digest);
      });
}
