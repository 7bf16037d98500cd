/**
 * Ways out of a container: what `ply run` refuses, for root, with subordinate ids and with one id.
 */
import { chmodSync, chownSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { containerImage } from '../support/container-image.js';
import { containerUsers } from '../support/container-users.js';
import { figure } from '../support/figures.js';
import { temporaryDirectory } from '../support/mounts.js';
import { asNobody, isRoot } from '../support/users.js';
import {
  compileAttempts,
  hostThings,
  outcomesOf,
  outcomesOutside,
  reached,
  table,
  type Outcomes,
} from '../suites/escapes/escapes.js';
import { expected, expectedOnHostNetwork } from '../suites/escapes/expected.js';

t.setTimeout(180_000);

t.test('ways out', async (t) => {
  const directory = await temporaryDirectory(t);
  const program = await compileAttempts(directory);
  const archive = readFileSync(await containerImage(directory));
  const columns: Record<string, Outcomes> = {};
  for (const user of await containerUsers(t)) {
    const own = join(user.directory, 'image.tar');
    writeFileSync(own, archive);
    t.match(await user.ply('import', own, 'image:1'), { status: 0 });
    const attempts = join(user.directory, 'attempts');
    copyFileSync(program, attempts);
    chmodSync(attempts, 0o755);
    if (isRoot) chownSync(attempts, user.uid, user.uid);
    const prefix = isRoot && user.uid !== 0 ? asNobody : [];
    const host = await hostThings(t, attempts, prefix);
    for (const network of ['none', 'host'] as const) {
      const options = ['--rm', '--network', network, '-v', `${attempts}:/attempts:ro`];
      const outcomes = outcomesOf(
        await user.ply('run', ...options, 'image:1', '/attempts', ...host.words),
      );
      columns[`${user.name}, ${network}`] = outcomes;
      const known = new Set([
        ...Object.keys(expected),
        ...(network === 'host' ? Object.keys(expectedOnHostNetwork) : []),
      ]);
      t.same(
        reached(outcomes).filter((name) => !known.has(name)),
        [],
        `${user.name}, network ${network}: nothing else is reached`,
      );
    }
    t.equal(await host.keyValue(), 'secret', "the host's key is as it was");
    if (user.uid === 0) {
      const outside = await outcomesOutside(attempts, host.words);
      columns['outside'] = outside;
      t.ok(
        reached(outside).length >= 60,
        'outside of a container most of it can be had: the attempts are such',
      );
    }
  }
  for (const line of table(columns)) t.comment(line);
  figure(
    t,
    Object.values(columns).reduce((sum, outcomes) => sum + outcomes.size, 0),
    'ways out of a container tried',
  );
});
