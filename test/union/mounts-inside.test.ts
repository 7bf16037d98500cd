/**
 * What is mounted inside an upper is no part of it: nothing there is shown, changed or deleted
 * through the union.
 */
import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { asNobody, copyProgram, isRoot, NOBODY, openFuseDevice } from '../support/users.js';
import { kernel, plyfs, unavailable, Union } from '../suites/mounters.js';

const skip =
  (await unavailable(t, plyfs)) ?? (isRoot ? false : 'mounts are made inside, which takes root');

/**
 * In an upper: a directory of the upper's alone and one that merges, each with another file system
 * over it, and a file over a file.
 */
async function withMounts(union: Union): Promise<{ intact: () => Promise<string> }> {
  const { base, upper } = union;
  const [lower = ''] = union.lowers;
  for (const dir of ['own', 'merged', 'merged/deep']) mkdirSync(`${upper}/${dir}`);
  mkdirSync(`${lower}/merged/deep`, { recursive: true });
  writeFileSync(`${lower}/merged/deep/low`, 'low');
  for (const path of ['own/covered', 'merged/deep/covered', 'file'])
    writeFileSync(`${upper}/${path}`, 'covered');
  const foreign = `${base}/foreign`;
  writeFileSync(foreign, 'precious');
  for (const dir of ['own', 'merged/deep']) {
    await succeed(['mount', '-t', 'tmpfs', '-o', `uid=${NOBODY}`, 'tmpfs', `${upper}/${dir}`]);
    writeFileSync(`${upper}/${dir}/precious`, 'precious');
  }
  await succeed(['mount', '--bind', foreign, `${upper}/file`]);
  const files = [foreign, `${upper}/own/precious`, `${upper}/merged/deep/precious`];
  await succeed(['chown', '-R', String(NOBODY), lower, upper, `${base}/work`, union.mnt, foreign]);
  return { intact: () => succeed(['stat', '--format=%n %a %s %Y', ...files]) };
}

/** In the mount, each attempt with its outcome. */
const attempts = `
for what in own merged/deep file; do
  for attempt in "ls -A $what" "cat $what" "cat $what/covered" "chmod 600 $what" "touch $what/new" "mv $what moved" "mv moved $what" "rm -rf $what"; do
    echo "== $attempt"; $attempt 2>&1 | sed 's/^[a-z]*: //'; done; done
find . | sort`;

await t.test("as root: the kernel's overlay does the same", { skip }, async (t) => {
  const said: string[] = [];
  for (const mounter of [kernel, plyfs]) {
    const missing = await unavailable(t, mounter);
    if (missing !== undefined) {
      t.plan(0, missing);
      return;
    }
    const union = await Union.create(t, mounter, 1);
    const { intact } = await withMounts(union);
    const before = await intact();
    await union.mount();
    said.push(await succeed(['sh', '-c', attempts], { cwd: union.mnt }));
    t.equal(await intact(), before, `${mounter.name}: what is mounted there is as it was`);
    await union.unmount();
  }
  t.match(said[0], /== ls -A own\ncovered\n/, 'what is covered is shown');
  t.equal(said[1], said[0]);
});

await t.test(
  'as an ordinary user, who has no copy of a mount: EXDEV, as for a mount point',
  { skip },
  async (t) => {
    openFuseDevice(t);
    const union = await Union.create(t, plyfs, 1);
    const program = copyProgram(union.base);
    const { intact } = await withMounts(union);
    const before = await intact();
    const options = `lowerdir=${union.lowers[0]!},upperdir=${union.upper},workdir=${union.base}/work`;
    await succeed([...asNobody, `${program}/bin/plyfs`, '-o', options, union.mnt]);
    for (const what of ['own', 'merged/deep', 'file']) {
      for (const attempt of [['ls'], ['cat'], ['chmod', '600'], ['rm', '-rf']]) {
        const { status, stderr } = await run([...asNobody, ...attempt, `${union.mnt}/${what}`]);
        t.match(
          { status, stderr },
          { status: /[12]/, stderr: /Invalid cross-device link/ },
          `${attempt.join(' ')} ${what}`,
        );
      }
    }
    t.equal(await intact(), before);

    // A mount that comes when the name is known already.
    writeFileSync(`${union.base}/later`, 'precious');
    chownSync(`${union.base}/later`, NOBODY, NOBODY);
    await succeed([...asNobody, 'sh', '-c', 'echo x >"$0/late"', union.mnt]);
    await succeed(['mount', '--bind', `${union.base}/later`, `${union.upper}/late`]);
    t.match(await run([...asNobody, 'chmod', '600', `${union.mnt}/late`]), {
      status: 1,
      stderr: /Invalid cross-device link/,
    });
    t.match(await succeed(['stat', '--format=%a', `${union.base}/later`]), /^644/);
    t.equal(readFileSync(`${union.base}/later`, 'utf8'), 'precious');
    await union.unmount();
  },
);

await t.test(
  'an upper and a workdir on two mounts of one file system are refused',
  { skip },
  async (t) => {
    const union = await Union.create(t, plyfs, 1);
    mkdirSync(`${union.base}/elsewhere`);
    await succeed(['mount', '--bind', `${union.base}/work`, `${union.base}/elsewhere`]);
    const options = `lowerdir=${union.lowers[0]!},upperdir=${union.upper},workdir=${union.base}/elsewhere`;
    const refused = await run(['bin/plyfs', '-o', options, union.mnt]);
    t.match(refused, {
      status: 1,
      stderr:
        /^plyfs: upperdir .* and workdir .* are on different mounts of one file system: put both .*\n$/,
    });
    t.not(
      (await run(['mount', '-t', 'overlay', 'overlay', '-o', options, union.mnt])).status,
      0,
      "the kernel's overlay refuses it, too",
    );
  },
);
