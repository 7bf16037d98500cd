/**
 * git over a repository of a lower layer: it is cloned, changed, collected and checked, all inside
 * the mount.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import type { Test } from 'tap';
import { succeed } from '../../support/command.js';
import { kernel, Union, unavailable, type Mounter } from '../mounters.js';
import { figure, givesBack } from './watched.js';

const identity = {
  GIT_AUTHOR_NAME: 'tester',
  GIT_AUTHOR_EMAIL: 'tester@example.org',
  GIT_COMMITTER_NAME: 'tester',
  GIT_COMMITTER_EMAIL: 'tester@example.org',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_SYSTEM: '/dev/null',
};

export async function gitOverLower(t: Test, mounter: Mounter, files: number): Promise<void> {
  const union = await Union.create(t, mounter, 1);
  const home = `${union.base}/home`;
  await mkdir(home);
  const script = async (text: string, ...args: string[]) =>
    (
      await succeed(['sh', '-ec', text, 'sh', ...args], {
        env: { PATH: process.env['PATH'], HOME: home, ...identity },
      })
    ).trim();
  const write = async (directory: string, from: number, to: number) => {
    for (let i = from; i < to; i++) {
      const below = `${directory}/src/d${i % 37}`;
      await mkdir(below, { recursive: true });
      await writeFile(`${below}/f${i}.txt`, `file ${i}\n`.repeat(1 + (i % 50)));
    }
  };
  const lower = `${union.lowers[0]}/repo`;
  await mkdir(lower);
  await write(lower, 0, 300);
  await script(
    `cd "$1"; git init -q -b main .; git add -A; git commit -qm first; git repack -adq
     for i in 1 2 3; do echo $i >>src/d1/f1.txt; git commit -qam "lower $i"; done; git tag lower; git branch side HEAD~2`,
    lower,
  );

  await union.mount();
  const repo = `${union.mnt}/repo`;
  await givesBack(t, mounter, async () => {
    t.equal(
      await script('cd "$1"; git status --porcelain; git fsck --full --strict 2>&1', repo),
      '',
      'the lower repository is clean and whole',
    );
    await write(repo, 300, 300 + files);
    await script(
      `cd "$1"
       for d in src/d*; do git add $d; git commit -qm "add $d"; done
       git checkout -q side; echo side >side.txt; git add side.txt; git commit -qm side
       git checkout -q main; git merge -q --no-edit side
       git rm -rq src/d3; mkdir src/moved; git mv src/d4/*.txt src/moved; git commit -qm "remove and rename"`,
      repo,
    );
    const commits = 1 + 3 + 37 + 1 + 1 + 1;
    t.equal(await script('cd "$1"; git log --oneline | wc -l', repo), String(commits));
    t.equal(
      await script(
        'cd "$1"; git gc -q --aggressive --prune=now; git fsck --full --strict 2>&1; git status --porcelain',
        repo,
      ),
      '',
      'collected, whole',
    );
    await script(
      'git clone -q "$1/repo" "$1/clone"; git clone -q --no-hardlinks "$1/clone" "$1/copy"',
      union.mnt,
    );
    const head = await script('cd "$1"; git rev-parse HEAD^{tree}', repo);
    for (const clone of ['clone', 'copy']) {
      const at = `${union.mnt}/${clone}`;
      t.equal(
        await script(
          'cd "$1"; git fsck --full --strict 2>&1; git status --porcelain; git rev-parse HEAD^{tree}',
          at,
        ),
        head,
        `${clone} is whole`,
      );
    }
    await script('cd "$1"; git reset -q --hard lower; git clean -fdxq', repo);
    t.equal(
      await script(
        'cd "$1"; git diff --stat lower; git status --porcelain; ls src/d3 | wc -l',
        repo,
      ),
      '9',
      'what was removed is back: f3, f40, … f262 and f299',
    );
    await script('cd "$1"; git pull -q --ff-only ../copy main', repo);
    figure(
      t,
      mounter,
      `${commits} commits of ${300 + files} files by git over a lower repository, collected and cloned`,
    );
  });
  await union.remount((await unavailable(t, kernel)) === undefined ? kernel : mounter);
  t.equal(
    await script('cd "$1"; git fsck --full --strict 2>&1; git status --porcelain', repo),
    '',
    'mounted again: whole',
  );
  t.equal(
    await script(
      'diff -r --exclude=.git "$1/repo" "$1/clone"; diff -r --exclude=.git "$1/repo" "$1/copy"',
      union.mnt,
    ),
    '',
    'all three the same',
  );
  await union.unmount();
  t.equal(
    await script('cd "$1"; git fsck --full --strict 2>&1; git status --porcelain', lower),
    '',
    'the lower repository is untouched',
  );
}
