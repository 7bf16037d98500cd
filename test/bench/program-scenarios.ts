/**
 * What people do in such mounts: clone, build, install. Programs and compilers are the machine's
 * own; what they work on is in the mount.
 */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { root } from '../support/root.js';
import { writeProject } from './c-project.js';
import { debianRoot, debianUnavailable } from './debian-root.js';
import { missing, succeed } from './program.js';
import { shell, type Goal, type Scenario, type Sizes } from './workload.js';

const program: Goal = { 'fuse-overlayfs': 1, kernel: 1.5 };
const build: Goal = { 'fuse-overlayfs': 1, kernel: 1.25 };

const author = [
  '-c',
  'user.name=bench',
  '-c',
  'user.email=bench@localhost',
  '-c',
  'init.defaultBranch=main',
];

/** Some thousand files with a history of a few commits, packed. */
async function writeRepository(directory: string, small: string, files: number): Promise<void> {
  const git = (...words: string[]): Promise<string> =>
    succeed(['git', ...author, ...words], { cwd: directory });
  await mkdir(directory);
  await git('init', '-q');
  for (const [index, share] of [0.5, 0.75, 1].entries()) {
    const upTo = Math.floor((files * share) / 40);
    await succeed(
      [
        'sh',
        '-c',
        `for n in $(seq 0 ${upTo - 1}); do [ -d d$n ] || cp -r "$1/d$n" .; echo ${index} >d$n/version; done`,
        'sh',
        small,
      ],
      {
        cwd: directory,
      },
    );
    await git('add', '.');
    await git('commit', '-q', '-m', `part ${index + 1}`);
  }
  await git('gc', '-q');
  await succeed(['sh', '-c', 'mv .git ../repository.git && rm -rf ./*'], { cwd: directory });
  await succeed([
    'sh',
    '-c',
    'rmdir "$1" && mv "$1.git" "$1" && git -C "$1" config core.bare true',
    'sh',
    directory,
  ]);
}

interface Manifest {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
}

/**
 * This project's own packages, without the test runner, which alone is three quarters of their
 * files.
 */
async function writeNpmProject(directory: string, tools: boolean): Promise<void> {
  const manifest = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as Manifest;
  const wanted = Object.entries(manifest.devDependencies).filter(
    ([name]) => tools && !name.startsWith('tap'),
  );
  await mkdir(directory, { recursive: true });
  const document = {
    name: 'bench',
    version: '1.0.0',
    dependencies: manifest.dependencies,
    devDependencies: Object.fromEntries(wanted),
  };
  writeFileSync(`${directory}/package.json`, JSON.stringify(document));
  copyFileSync(`${root}/package-lock.json`, `${directory}/package-lock.json`);
  copyFileSync(`${root}/.npmrc`, `${directory}/.npmrc`);
  // Takes out of the lock file what is not wanted; fails unless the build has left the packages in
  // npm's cache.
  await succeed(
    ['npm', 'install', '--package-lock-only', '--offline', '--loglevel=error', '--logs-max=0'],
    { cwd: directory },
  );
}

export function programScenarios(sizes: Sizes): readonly Scenario[] {
  return [
    {
      key: 'git',
      layer: 'repository',
      unavailable: () => missing('git'),
      prepare: (_shared, { lowers }, layer) =>
        writeRepository(`${layer}/repository`, `${lowers.at(-1)!}/small`, sizes.repositoryFiles),
      steps: [
        {
          key: 'git-clone',
          title: `git clone of ${sizes.repositoryFiles.toLocaleString('en')} files`,
          unit: 'ms',
          measure: shell('git clone -q repository clone'),
          goal: program,
        },
        {
          key: 'git-worktree',
          title: 'git worktree add, status, remove',
          unit: 'ms',
          measure: shell(
            'cd clone && git worktree add -q ../second -b second && git -C ../second status -s && git worktree remove ../second',
          ),
          goal: program,
        },
      ],
    },
    {
      key: 'build',
      layer: 'project',
      unavailable: () => missing('cc', 'make', 'ar'),
      prepare: async (_shared, _stack, layer) => {
        writeProject(`${layer}/project`, sizes.projectFiles);
      },
      steps: [
        {
          key: 'configure',
          title: `./configure with ${sizes.projectFiles} checks`,
          unit: 'ms',
          measure: shell('cd project && ./configure >/dev/null'),
          goal: build,
        },
        {
          key: 'make',
          title: `make -j2 of ${sizes.projectFiles} C files`,
          unit: 'ms',
          measure: shell('cd project && make -s -j2 && ./program'),
          goal: build,
        },
      ],
    },
    {
      key: 'npm',
      layer: 'npm',
      unavailable: () => missing('npm'),
      prepare: (_shared, _stack, layer) => writeNpmProject(`${layer}/npm`, sizes.npmTools),
      steps: [
        {
          key: 'npm-ci',
          title: 'npm ci from its cache',
          unit: 'ms',
          measure: shell(
            'cd npm && npm ci --offline --ignore-scripts --no-audit --no-fund --loglevel=error --logs-max=0',
          ),
          goal: build,
        },
        {
          key: 'npm-remove',
          title: 'rm -rf node_modules',
          unit: 'ms',
          measure: shell('rm -rf npm/node_modules'),
          goal: program,
        },
      ],
    },
    {
      key: 'debian',
      stack: 'own',
      layer: 'debian',
      unavailable: debianUnavailable,
      prepare: async (shared, _stack, layer) => {
        const { tar, packages } = await debianRoot(shared, sizes.debianPackages);
        await succeed(['tar', '-xf', tar, '-C', layer, '--numeric-owner', '--xattrs']);
        await succeed(['cp', '-r', packages, `${layer}/debs`]);
      },
      steps: [
        {
          key: 'tar-root',
          title: 'tar of a Debian root file system',
          unit: 'ms',
          measure: shell('tar --one-file-system -cf - . | cat >/dev/null'),
          goal: program,
        },
        {
          key: 'dpkg',
          title: `dpkg -i of ${sizes.debianPackages.join(', ')} in a chroot`,
          unit: 'ms',
          measure: ({ mnt }) => ({
            argv: ['chroot', mnt, 'sh', '-c', 'exec dpkg -i /debs/*.deb'],
            env: {
              DEBIAN_FRONTEND: 'noninteractive',
              PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
              LC_ALL: 'C',
            },
          }),
          goal: program,
        },
      ],
    },
  ];
}
