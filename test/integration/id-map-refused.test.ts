/** Subordinate ids that the kernel refuses: `ply run` says so and ends, and leaves nothing. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { containerUsers } from '../support/container-users.js';
import { temporaryDirectory } from '../support/mounts.js';
import { isRoot } from '../support/users.js';

t.setTimeout(60_000);
const skip = !isRoot && 'the test becomes another user, which takes root';

t.test('one range twice', { skip }, async (t) => {
  const directory = await temporaryDirectory(t);
  chmodSync(directory, 0o755);
  const user = (await containerUsers(t)).find(({ name }) => name === 'ranges')!;
  const tar = await containerImage(directory);
  t.match(await user.ply('import', '-q', tar, 'image:1'), { status: 0 });
  const twice = join(directory, 'subid');
  writeFileSync(twice, 'nobody:300000:10\nnobody:300000:10\n');
  // user_namespaces(7): ranges of a map may not overlap.
  const hidden = 'mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec "$@"';
  const words = user.words.slice(user.words.indexOf('setpriv'));
  const outcome = await run([
    'unshare',
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-c',
    hidden,
    twice,
    ...words,
    'run',
    '--rm',
    'image:1',
    'id',
  ]);
  t.match(outcome, {
    status: 125,
    stdout: '',
    stderr: /^ply: newuidmap cannot map your ids .*\n$/,
  });
  t.match(await user.ply('ps', '--json'), { status: 0, stdout: '[]\n' }, 'the container is gone');
});
