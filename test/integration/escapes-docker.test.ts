/**
 * The ways out of a container that docker leaves open or closes, beside ply's: what differs is told
 * here, with its reason.
 */
import t from 'tap';
import { run } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { figure } from '../support/figures.js';
import { temporaryDirectory } from '../support/mounts.js';
import { plyOn } from '../support/ply.js';
import { startDockerd } from '../support/private-dockerd.js';
import {
  compileAttempts,
  hostThings,
  outcomesOf,
  reached,
  table,
  type Outcomes,
} from '../suites/escapes/escapes.js';

t.setTimeout(180_000);

/** Refused by ply, and not by dockerd 20.10. */
const stricter: Readonly<Record<string, string>> = {
  image_device:
    'the number is that of /dev/null, which the device group of docker allows wherever it lies',
  paths_of_groups: 'dockerd gives a cgroup namespace only where cgroups are of version 2 alone',
  virtual_socket: "AF_VSOCK is refused by moby's later profiles, as the one here",
  io_uring: "io_uring is refused by moby's later profiles, as the one here",
};

t.test('beside docker', async (t) => {
  const base = await temporaryDirectory(t);
  const program = await compileAttempts(base);
  const image = await containerImage(base);
  const engine = await startDockerd(t, base, { storageDriver: 'overlay2' });
  await engine.docker('import', image, 'image:1');
  const ply = plyOn(`${base}/ply`);
  await ply('import', image, 'image:1');
  const host = await hostThings(t, program, []);
  const columns: Record<string, Outcomes> = {};
  for (const network of ['none', 'host']) {
    const words = [
      'run',
      '--rm',
      '--network',
      network,
      '-v',
      `${program}:/attempts:ro`,
      'image:1',
      '/attempts',
      ...host.words,
    ];
    const theirs = outcomesOf(await run([...engine.client, ...words]));
    const ours = outcomesOf(await ply.outcome(...words));
    columns[`docker, ${network}`] = theirs;
    columns[`ply, ${network}`] = ours;
    const open = new Set(reached(theirs));
    t.same(
      reached(ours).filter((name) => !open.has(name)),
      [],
      'ply leaves nothing open that docker closes',
    );
    const closed = new Set([...ours.keys()].filter((name) => ours.get(name) !== 'reached'));
    t.same(
      [...open].filter((name) => closed.has(name) && stricter[name] === undefined),
      [],
      'and closes nothing else that docker leaves open',
    );
  }
  const open = new Set(reached(columns['docker, none']!));
  for (const runtime of ['crun', 'runc']) {
    const options = [
      '--rm',
      '--runtime',
      runtime,
      '--network',
      'none',
      '-v',
      `${program}:/attempts:ro`,
    ];
    const outcomes = outcomesOf(
      await ply.outcome('run', ...options, 'image:1', '/attempts', ...host.words),
    );
    columns[`ply by ${runtime}`] = outcomes;
    t.same(
      reached(outcomes).filter((name) => !open.has(name)),
      [],
      `${runtime} neither, on what ply hands it`,
    );
  }
  t.not(
    columns['ply by crun']!.get('image_device'),
    'reached',
    'crun, which mounts the root once more, opens no device of it',
  );
  t.equal(await host.keyValue(), 'secret');
  for (const line of table(columns)) t.comment(line);
  figure(
    t,
    Object.values(columns).reduce((sum, outcomes) => sum + outcomes.size, 0),
    'ways out of a container tried',
  );
});
