/** Completion as the shells ask for it, and through bash itself. */
import { mkdirSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { archiveOf, docker20, imageOf } from '../../image/fixture.js';
import { run, succeed } from '../../support/command.js';
import { ply, plyOn, plyProgram } from '../../support/ply.js';
import { isRoot } from '../../support/users.js';
import { workspace } from '../../suites/workspace.js';

async function answer(...words: string[]): Promise<string[]> {
  const { stdout } = await ply('__complete', ...words);
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.split('\t')[0]!);
}

t.test('commands, options and values', async (t) => {
  t.same(await answer('mo'), ['mount', 'mounts', ':words']);
  t.same(await answer('--mo'), ['--mounter', ':words']);
  t.same(await answer('--mounter', ''), ['fuse', 'kernel', ':words']);
  t.same(await answer('--mounter=k'), ['--mounter=kernel', ':words']);
  t.same(await answer('--root', ''), [':directories'], 'a global option has a value, too');
  t.same(await answer('--root', '/x', 'umount', '--l'), ['--lazy', ':words']);
  t.same(await answer('load', '-i', ''), [':files']);
  t.same(await answer('load', '-qi', ''), [':files'], 'after options written together');
  t.same(await answer('umount', ''), [':directories']);
  t.same(await answer('completion', 'z'), ['zsh', ':words']);
  t.same(await answer('nonsense', ''), [':words']);
  t.same(await answer('umount', '--', '-'), [':directories'], 'after -- nothing is an option');
  t.notOk((await answer('')).includes('__complete'));
});

t.test(
  'names of images and of mounts',
  { skip: !isRoot && 'layers with their owners need root' },
  async (t) => {
    const base = await workspace(t, 'mnt');
    const on = plyOn(`${base}/root`);
    const image = await imageOf([{ file: 'x' }]);
    writeFileSync(
      `${base}/image.tar`,
      await archiveOf(docker20([{ image, tags: ['debian:12', 'localhost:5000/a/b:1'] }])),
    );
    await on('load', '-q', '-i', `${base}/image.tar`);
    await on('mount', '--name', 'web', 'debian:12', `${base}/mnt`);
    await on('umount', 'web');
    const root = ['--root', `${base}/root`];
    t.same(await answer(...root, 'rmi', 'd'), ['debian:12', ':words']);
    t.same(
      await answer(...root, 'save', 'debian:12', 'l'),
      ['localhost:5000/a/b:1', ':words'],
      'each of several',
    );
    t.same(await answer(...root, 'rm', ''), ['web', ':words']);
    t.same(await answer(...root, 'commit', 'w'), ['web', ':words']);
    t.same(await answer(...root, 'create', 'd'), ['debian:12', ':words']);
    t.same(await answer(...root, 'cp', 'w'), ['web:', ':files'], 'a path in it is to follow');
    t.same(await answer(...root, 'mount', 'debian:12', ''), [':directories']);
    t.same(await answer('--root', `${base}/none`, 'rmi', ''), [':words'], 'where there is no root');

    await t.test('in bash', async (t) => {
      mkdirSync(`${base}/files`);
      writeFileSync(`${base}/files/a file.tar`, '');
      // What bash does for a key press: the line cut at blanks, : and =, as COMP_WORDBREAKS has it.
      const script = `
      source <("${plyProgram}" completion bash)
      compopt() { :; }
      ask() {
        COMP_LINE=$1 COMP_POINT=\${#1} COMPREPLY=()
        mapfile -t COMP_WORDS < <(grep -oE '[:=]|[^ :=]+' <<<"$1")
        [[ $1 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
        _ply
        printf '<%s>' "\${COMPREPLY[@]}"; echo
      }
      cd "${base}"
      ply() { "${plyProgram}" "$@"; }
      ask 'ply im'
      ask 'ply --root root rmi debian:'
      ask 'ply --root=root rmi localhost:5000/'
      ask 'ply --mounter=k'
      ask 'ply load -i files/'`;
      const { stdout, stderr } = await run(['bash', '-c', script]);
      t.equal(stderr, '');
      t.same(stdout.trim().split('\n'), [
        '<import><images>',
        '<12>',
        '<5000/a/b:1>',
        '<kernel>',
        '<files/a file.tar>',
      ]);
    });
  },
);

t.test('the scripts are ones for their shells', async (t) => {
  t.match(await ply('completion', 'bash'), { status: 0, stdout: /complete -F _ply ply$/m });
  t.match(await ply('completion', 'zsh'), { status: 0, stdout: /^#compdef ply$/m });
  t.match(await ply('completion', 'fish'), { status: 0, stdout: /^complete -c ply /m });
  t.match(await ply('completion', 'tcsh'), { status: 2, stderr: /tcsh/ });
  await succeed(['bash', '-n'], { input: (await ply('completion', 'bash')).stdout });
});
