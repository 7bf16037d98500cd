/**
 * What cannot be mounted is refused in one sentence, and what layers hold never leads out of them.
 */
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { daemonsOf, mountAt } from '../support/mounts.js';
import { plyfsProgram } from '../support/plyfs.js';
import { root } from '../support/root.js';
import { asNobody, isRoot, NOBODY, openFuseDevice } from '../support/users.js';
import { Actor } from '../suites/actor.js';
import { plyfs, unavailable, unmount } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';
import { onUnion } from './with-union.js';

t.setTimeout(120_000);

interface Refusal {
  lower?: string;
  upper?: string | null;
  work?: string;
  mnt?: string;
  /** What the sentence must say. */
  says: RegExp;
  as?: readonly string[];
  program?: string;
}

const noFuse = await unavailable(t, plyfs);

await t.test(
  'refusals: status 1, one sentence, nothing mounted, nothing written',
  { skip: noFuse ?? false },
  async (t) => {
    const base = await workspace(
      t,
      'lower/inside',
      'lower2',
      'upper/inside',
      'work',
      'holder/inside',
      'mnt',
      'busy/upper',
      'busy/work',
      'busy/mnt',
      'other',
      'clean',
    );
    const at = (name: string) => join(base, name);
    writeFileSync(at('file'), '');
    writeFileSync(at('lower/x'), 'x');
    mkdirSync(at('theirs'));
    writeFileSync(at('theirs/notes.txt'), '');
    symlinkSync('loop', at('loop'));
    await plyfs.mount(
      { lowers: [at('lower')], upper: at('busy/upper'), work: at('busy/work') },
      at('busy/mnt'),
    );

    const refuse = async (name: string, refusal: Refusal) => {
      const {
        lower = at('lower2'),
        upper = at('clean'),
        work = at('work'),
        mnt = at('mnt'),
        says,
        as = [],
        program = plyfsProgram,
      } = refusal;
      const options = [
        `lowerdir=${lower}`,
        ...(upper === null ? [] : [`upperdir=${upper}`, `workdir=${work}`]),
      ];
      const before = readdirSync(base, { recursive: true }).sort();
      const outcome = await run([...as, program, '-o', options.join(','), mnt]);
      t.match(outcome, { status: 1, stdout: '', stderr: /^plyfs: [^\n]+[^.\n]\.?\n$/ }, name);
      t.match(Buffer.from(outcome.stderr, 'latin1').toString(), says, name);
      t.match(outcome.stderr, /: [^:]*[a-z]/, `${name}: says what to do`);
      t.equal(
        mountAt(mnt),
        mnt === at('busy/mnt') ? mountAt(mnt) : undefined,
        `${name}: nothing is mounted`,
      );
      t.same(readdirSync(base, { recursive: true }).sort(), before, `${name}: nothing is written`);
      t.same(daemonsOf(at('mnt')), [], `${name}: no daemon`);
    };

    await refuse('a missing lower', {
      lower: at('missing'),
      says: /lowerdir .*missing does not exist/,
    });
    await refuse('the last of several missing', {
      lower: `${at('lower')}:${at('lower2')}:${at('gone')}`,
      says: /gone does not exist/,
    });
    await refuse('a lower that is a file', {
      lower: at('file'),
      says: /lowerdir .*file is not a directory/,
    });
    await refuse('a lower that is a loop of links', { lower: at('loop'), says: /lowerdir .*loop/ });
    await refuse('a lower with a name too long', {
      lower: at('n'.repeat(256)),
      says: /nnn.*ENAMETOOLONG|too long/,
    });
    await refuse('a missing upper', {
      upper: at('missing'),
      says: /upperdir .*missing does not exist/,
    });
    await refuse('an upper that is a file', {
      upper: at('file'),
      says: /upperdir .*file is not a directory/,
    });
    await refuse('a missing work', {
      work: at('missing'),
      says: /workdir .*missing does not exist/,
    });
    await refuse('an upper that is a lower', {
      lower: at('clean'),
      says: /clean lies inside upperdir/,
    });
    await refuse('a lower inside the upper', {
      lower: at('upper/inside'),
      upper: at('upper'),
      says: /upper\/inside lies inside upperdir/,
    });
    await refuse('a work inside the upper', {
      upper: at('upper'),
      work: at('upper/inside'),
      says: /upper\/inside lie in each other/,
    });
    await refuse('an upper inside the work', {
      upper: at('holder/inside'),
      work: at('holder'),
      says: /lie in each other/,
    });
    await refuse('a work that is the upper', { work: at('clean'), says: /lie in each other/ });
    await refuse('a lower inside the work', {
      lower: at('holder/inside'),
      work: at('holder'),
      says: /holder\/inside lies inside workdir/,
    });
    await refuse("a work with others' files", {
      work: at('theirs'),
      says: /theirs holds notes\.txt.*empty directory/,
    });
    await refuse('a work that a live mount uses', {
      upper: at('busy/upper'),
      work: at('busy/work'),
      says: /busy\/work is in use by another mount/,
    });
    await refuse('a mount point that is missing', {
      mnt: at('missing'),
      says: /missing does not exist/,
    });
    await refuse('a mount point that is a file', {
      mnt: at('file'),
      says: /file is not a directory/,
    });
    await refuse('a mount point inside the upper', {
      upper: at('upper'),
      mnt: at('upper/inside'),
      says: /upper\/inside lies inside upperdir/,
    });
    await refuse('501 lowers', {
      lower: Array<string>(501).fill(at('lower')).join(':'),
      says: /501 lower directories: .*500/,
    });

    await t.test('other users, other file systems', { skip: !isRoot && 'needs root' }, async () => {
      await succeed(['mount', '-t', 'tmpfs', 'tmpfs', at('other')]);
      mkdirSync(at('other/work'));
      await refuse('upper and work on different file systems', {
        work: at('other/work'),
        says: /different file systems/,
      });
      await refuse('upper and work on different file systems, the other way', {
        upper: at('other'),
        says: /different file systems/,
      });
      openFuseDevice(t);
      const program = join(base, 'program');
      mkdirSync(program);
      for (const part of [
        'bin',
        'dist/src',
        'build/Release/plyfs.node',
        'package.json',
        'node_modules/lru-cache',
      ]) {
        if (existsSync(join(root, part)))
          cpSync(join(root, part), join(program, part), { recursive: true });
      }
      const nobody = { as: asNobody, program: join(program, 'bin/plyfs') };
      for (const name of ['mnt', 'clean', 'work', 'lower', 'lower/inside'])
        chownSync(at(name), NOBODY, NOBODY);
      chmodSync(at('lower2'), 0o700);
      await refuse('an unreadable lower', {
        ...nobody,
        says: /no permission to read lowerdir .*lower2/,
      });
      chmodSync(at('lower2'), 0o755);
      await refuse('an upper of others', {
        ...nobody,
        upper: at('upper'),
        work: at('busy'),
        says: /busy|upper/,
      });
      await refuse('a mount point inside a lower', {
        ...nobody,
        lower: at('lower'),
        mnt: at('lower/inside'),
        says: /lies inside lowerdir/,
      });
      await refuse('a mount point of others', {
        ...nobody,
        upper: null,
        mnt: at('upper'),
        says: /upper/,
      });
    });
    await unmount(at('busy/mnt'));
  },
);

await onUnion(
  t,
  'mounted over a lower, and inside one',
  { needsRoot: true, layers: 2 },
  async (s) => {
    const { lowers, base } = s.union;
    const [lower = ''] = lowers;
    await s.lay('lower1', { 'inside/hidden': 'x', file: 'x' });
    for (const dir of [lower, `${lower}/inside`]) {
      await plyfs.mount({ lowers, upper: `${base}/upper`, work: `${base}/work` }, dir);
      const actor = await Actor.start({ cwd: dir });
      s.t.same(await actor.names('.'), ['file', 'inside'], 'the layer is read, not the mount');
      s.t.same(
        await actor.names('inside'),
        ['hidden'],
        'the place itself shows the bare directory',
      );
      s.t.equal((await run(['timeout', '20', 'find', dir, '-ls'])).status, 0, 'and nothing hangs');
      await actor.chmod('inside/hidden', 0o600);
      await actor.end();
      await unmount(dir);
    }
  },
);

await onUnion(t, '200 lowers, and the same lower twice', {}, async (s) => {
  const { base } = s.union;
  const names = Array.from({ length: 200 }, (_, i) => `l${i}`);
  for (const [i, name] of names.entries())
    await s.lay(name, {
      [`own${i}`]: 'x',
      [`dir/pair${Math.floor(i / 2)}`]: String(i),
      everywhere: String(i),
    });
  await s.whiteout('l100/own150');
  const at = (name: string) => `${base}/${name}`;
  await plyfs.mount({ lowers: names.map(at), upper: at('upper'), work: at('work') }, s.union.mnt);
  const actor = await s.start();
  s.t.equal(await actor.get('everywhere'), '0');
  s.t.equal((await actor.names('dir')).length, 100);
  for (const i of [0, 17, 99]) s.t.equal(await actor.get(`dir/pair${i}`), String(2 * i));
  await actor.put('dir/pair99', 'changed');
  await actor.unlink('everywhere');
  await s.fails('ENOENT', actor.get('everywhere'));
  await actor.end();
  await s.union.unmount();
  for (const [limit, enough] of [
    [300, false],
    [312, true],
  ] as const) {
    const words = `lowerdir=${names.map(at).join(':')},upperdir=${at('upper')},workdir=${at('work')}`;
    const outcome = await run([
      'sh',
      '-c',
      `ulimit -n ${limit} && exec "$0" -o "$1" "$2"`,
      plyfsProgram,
      words,
      s.union.mnt,
    ]);
    if (enough) {
      s.t.match(outcome, { status: 0, stderr: '' });
      s.t.equal(
        (await run(['find', s.union.mnt, '-type', 'f', '-exec', 'cat', '{}', '+'])).stderr,
        '',
        'few descriptors are enough',
      );
      await s.union.unmount();
    } else
      s.t.match(outcome, {
        status: 1,
        stderr:
          /^plyfs: 200 lower directories take 312 open files, and 300 are allowed: [^\n]*ulimit -n.*\n$/,
      });
  }
  await plyfs.mount({ lowers: [at('l1'), at('l0'), at('l1'), at('l1')] }, s.union.mnt);
  const again = await s.start();
  s.t.equal(await again.get('everywhere'), '1');
  s.t.same(await again.names(), ['dir', 'everywhere', 'own0', 'own1']);
  await s.fails('EROFS', again.put('new', ''));
});

const odd = [
  Buffer.from('line\nbreak'),
  Buffer.from([0xff, 0xfe, 0x20]),
  Buffer.from('back\\slash:colon,comma'),
  Buffer.from('é'.repeat(127)),
  Buffer.from('x'.repeat(255)),
];

await onUnion(
  t,
  'names of any bytes and of 255 of them, and layers in such paths',
  {},
  async (s) => {
    const join2 = (...parts: (string | Buffer)[]) =>
      Buffer.concat(parts.map((part) => Buffer.from(part)));
    for (const name of odd) {
      await s.disk.put(join2('lower1/', name), 'x');
      await s.disk.mkdir(join2('lower1/d', name.subarray(0, 254)));
      await s.disk.put(join2('lower1/d', name.subarray(0, 254), '/', name), 'below');
    }
    await s.mount();
    s.t.equal((await s.mnt.names()).length, 2 * odd.length);
    for (const name of odd) {
      const dir = join2('d', name.subarray(0, 254));
      await s.mnt.put(name, 'changed');
      await s.mnt.put(join2(dir, '/', name), 'changed');
      s.t.equal(await s.mnt.get(join2(dir, '/', name)), 'changed');
      await s.mnt.unlink(name);
      await s.mnt.mkdir(name);
      await s.mnt.rename(join2(dir, '/', name), join2(name, '/', name));
    }
    const live = await s.shown();
    await s.remount();
    s.same(await s.shown(), live, 'after a remount');
    const long = 'x'.repeat(256);
    for (const call of [
      s.mnt.lstat(long),
      s.mnt.put(long, ''),
      s.mnt.mkdir(long),
      s.mnt.symlink('x', long),
      s.mnt.unlink(long),
      s.mnt.rename(odd[0] ?? '', long),
    ]) {
      await s.fails('ENAMETOOLONG', call);
    }
    await s.unmount();
    // The shell writes what a JavaScript string cannot hold.
    const script = [
      'odd=$(printf "a\\377b\\nc") && mkdir "$odd" && cd "$odd" && mkdir low,er upp:er work && echo x >low,er/f',
      '"$0" -o "lowerdir=low\\\\,er,upperdir=upp\\\\:er,workdir=work" ../mnt && echo y >../mnt/f && cat upp:er/f',
      'status=$?; umount ../mnt 2>/dev/null || fusermount3 -u ../mnt; exit $status',
    ].join('\n');
    s.t.match(await run(['sh', '-c', script, plyfsProgram], { cwd: s.union.base }), {
      status: 0,
      stdout: 'y\n',
      stderr: '',
    });
  },
);

await onUnion(t, 'trees deeper than PATH_MAX are read, copied up and removed', {}, async (s) => {
  const name = 'deep-directory-name-'.repeat(10);
  const descend = (actor: Actor, make: boolean) => async (depth: number) => {
    for (let i = 0; i < depth; i++) {
      if (make) await actor.mkdir(name);
      await actor.chdir(name);
    }
  };
  const builder = await Actor.start({ cwd: s.union.lowers[0] ?? '' });
  await descend(builder, true)(40);
  await builder.put('bottom', 'x');
  await builder.put('other', 'y');
  await builder.end();
  await s.mount();
  await descend(s.mnt, false)(40);
  s.t.equal(await s.mnt.get('bottom'), 'x');
  await s.mnt.put('bottom', 'changed');
  await s.mnt.unlink('other');
  s.t.same(await s.mnt.names(), ['bottom']);
  await s.remount();
  await descend(s.mnt, false)(40);
  s.t.equal(await s.mnt.get('bottom'), 'changed');
  s.t.equal((await s.mnt.lstat('..')).mode & 0o777, 0o755);
  await s.unmount();
  await s.mount();
  await succeed(['rm', '-rf', `${s.union.mnt}/${name}`]);
  s.t.same(await s.mnt.names(), []);
});
