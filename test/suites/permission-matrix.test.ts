/** The permission matrix on the built program, beside the kernel's overlay over the same layers. */
import t from 'tap';
import { succeed } from '../support/command.js';
import { figure } from '../support/figures.js';
import { Actor } from './actor.js';
import { kernel, plyfs, unavailable, unmount } from './mounters.js';
import { layMatrix, matrix, outcomesOn } from './permission-matrix.js';
import { workspace } from './workspace.js';

t.setTimeout(300_000);
const skip = (await unavailable(t, kernel)) ?? (await unavailable(t, plyfs)) ?? false;

await t.test('who may do what, as on the kernel’s overlay', { skip }, async (t) => {
  const base = await workspace(t, 'above', 'below', 'upper', 'work', 'mnt');
  const cases = matrix();
  const disk = await Actor.start({ cwd: base, umask: 0 });
  await layMatrix(disk, cases, { above: 'above', below: 'below', upper: 'upper' });
  await disk.end();
  const [ours, theirs] = await Promise.all(
    [plyfs, kernel].map(async (mounter) => {
      const own = `${base}/${mounter.name}`;
      await succeed([
        'sh',
        '-ec',
        'mkdir "$1" "$1/work" "$1/mnt"; chmod 755 "$1"; cp -a "$0/upper" "$1/upper"',
        base,
        own,
      ]);
      await mounter.mount(
        { lowers: [`${base}/above`, `${base}/below`], upper: `${own}/upper`, work: `${own}/work` },
        `${own}/mnt`,
      );
      try {
        return await outcomesOn(`${own}/mnt`, cases);
      } finally {
        await unmount(`${own}/mnt`);
      }
    }),
  );
  const differing = cases.flatMap(({ name }) => {
    const [found, wanted] = [ours!.get(name)!, theirs!.get(name)!];
    return found === wanted ? [] : [`${name}: ${found}, the kernel: ${wanted}`];
  });
  t.same(differing.slice(0, 40), [], `${differing.length} of ${cases.length} differ`);
  const answers = new Set([...theirs!.values()].map((outcome) => outcome.split(' ')[0]));
  for (const answer of ['ok', 'EACCES', 'EPERM'])
    t.ok(answers.has(answer), `the matrix has cases of ${answer}`);
  figure(t, cases.length, 'permission cases beside the kernel’s overlay');
});
