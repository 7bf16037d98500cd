/**
 * Whose marks are believed (src/overlay/belief.ts): what any user can set on a file of theirs leads
 * a mount of root's to nothing of others, as on the kernel's overlay; `userxattr` and an ordinary
 * user's mount believe opaque marks and whiteouts; owners kept in attributes take more.
 */
import t from 'tap';
import { upperChanges } from '../../src/archive/upper-changes.js';
import { run, succeed } from '../support/command.js';
import { plyProgram } from '../support/ply.js';
import { asNobody, copyProgram, isRoot, NOBODY, openFuseDevice } from '../support/users.js';
import type { Actor } from '../suites/actor.js';
import { kernel, plyfs, programUnderTest, type Mounter } from '../suites/mounters.js';
import type { UnionScene } from '../suites/union/scene.js';
import { workspace } from '../suites/workspace.js';
import { onUnion } from './with-union.js';

t.setTimeout(120_000);

const CONTAINERS = 'user.containers.override_stat';

/** A stranger's layer over one that holds what only root may read. */
async function layTraps(s: UnionScene): Promise<void> {
  await s.lay('lower2', {
    secret: 'SECRET',
    'vault/key': 'KEY',
    'dir/below': 'x',
    'closed/below': 'x',
    'holes/gone': 'x',
    'holes/kept': 'x',
  });
  await s.disk.chmod('lower2/secret', 0o600);
  await s.disk.chmod('lower2/vault', 0o700);
  await s.lay('lower1', { file: 'mine..', 'dir/': '', 'closed/own': 'x', 'holes/gone': '' });
  const marks: readonly (readonly [path: string, suffix: string, value: string])[] = [
    ['file', 'metacopy', ''],
    ['file', 'redirect', '/secret'],
    ['dir', 'redirect', '/vault'],
    ['closed', 'opaque', 'y'],
    ['holes', 'opaque', 'x'],
    ['holes/gone', 'whiteout', ''],
  ];
  for (const [path, suffix, value] of marks)
    await s.disk.setxattr(`lower1/${path}`, `user.overlay.${suffix}`, value);
}

await onUnion(
  t,
  'marks that any user can set are data to root, as on the kernel',
  { layers: 2, needsRoot: true, needsKernel: true },
  async (s) => {
    await layTraps(s);
    const shown = async (by: Mounter) => {
      await s.mount(by);
      const tree = await s.shown({ mtime: false });
      s.t.equal(await s.mnt.get('file'), 'mine..', by.name);
      await s.mnt.chmod('file', 0o640);
      await s.mnt.setxattr('dir', 'user.overlay.redirect', '/secret');
      await s.unmount();
      return {
        tree,
        file: await s.disk.listxattr('upper/file'),
        dir: await s.disk.getxattr('upper/dir', 'user.overlay.redirect'),
      };
    };
    const theirs = await shown(kernel);
    await succeed(['sh', '-c', `rm -rf "$0"/upper/* "$0"/work/*`, s.union.base]);
    const ours = await shown(plyfs);
    s.same(ours.tree, theirs.tree, 'the same tree, attributes included');
    s.t.equal(ours.tree.has('dir/key'), false);
    s.t.same(ours.file.sort(), theirs.file.sort(), 'a copy has the same attributes');
    s.t.equal(ours.dir, theirs.dir);
    await s.mount();
    s.t.same(
      await s.mnt.names('dir'),
      ['below'],
      'nor is one believed that was set through the mount',
    );
  },
);

await onUnion(
  t,
  'userxattr: opaque marks and whiteouts are believed, what leads elsewhere is EPERM, as on the kernel',
  { layers: 2, needsRoot: true, needsKernel: true, options: ['userxattr'] },
  async (s) => {
    await layTraps(s);
    for (const by of [kernel, plyfs]) {
      await s.mount(by);
      s.t.same(
        await s.mnt.names('.'),
        ['closed', 'dir', 'file', 'holes', 'secret', 'vault'],
        by.name,
      );
      s.t.same(await s.mnt.names('closed'), ['own'], by.name);
      s.t.same(await s.mnt.names('holes'), ['kept'], by.name);
      await s.fails('EPERM', s.mnt.lstat('dir'), by.name);
      await s.fails('EPERM', s.mnt.get('file'), by.name);
      await s.mnt.setxattr('closed', 'user.overlay.opaque', 'n');
      s.t.equal(
        await s.disk.getxattr('upper/closed', 'user.overlay.overlay.opaque'),
        'n',
        `${by.name} escapes it`,
      );
      await s.unmount();
      await succeed(['sh', '-c', `rm -rf "$0"/upper/* "$0"/work/*`, s.union.base]);
    }
    const { lowers, upper, base } = s.union;
    const words = `userxattr,redirect_dir=on,lowerdir=${lowers.join(':')},upperdir=${upper},workdir=${base}/work`;
    const refused = await run([programUnderTest(), '-o', words, s.union.mnt]);
    s.t.match(refused, {
      status: 1,
      stderr: /redirect_dir=on takes marks that root of the machine alone can set/,
    });
  },
);

await t.test(
  'an ordinary user’s mount believes what userxattr does',
  { skip: !isRoot && 'needs root to become another' },
  async (t) => {
    openFuseDevice(t);
    const base = await workspace(t, 'low', 'top/closed', 'top/dir', 'mnt', 'program');
    const program = copyProgram(`${base}/program`);
    await succeed([
      'sh',
      '-ec',
      `cd "$0"; mkdir -p low/closed low/vault low/dir; echo x >low/closed/below; echo KEY >low/vault/key; echo SECRET >low/secret
     echo x >top/file; setfattr -n user.overlay.metacopy top/file; setfattr -n user.overlay.redirect -v /secret top/file
     setfattr -n user.overlay.opaque -v y top/closed; setfattr -n user.overlay.redirect -v /vault top/dir; chown -R ${NOBODY}:${NOBODY} .`,
      base,
    ]);
    await succeed([
      ...asNobody,
      `${program}/bin/plyfs`,
      '-o',
      `lowerdir=${base}/top:${base}/low`,
      `${base}/mnt`,
    ]);
    const look = (script: string) =>
      run([...asNobody, 'sh', '-c', `cd "$0" && ${script}`, `${base}/mnt`]);
    t.equal((await look('ls closed')).stdout, '');
    t.match(await look('ls dir'), { stdout: '', stderr: /not permitted/ });
    t.match(await look('cat file'), { stdout: '', stderr: /not permitted/ });
    await succeed(['umount', `${base}/mnt`]);
  },
);

/**
 * A layer whose root is marked, with objects of several owners and modes, each saying that it is
 * root's and set-id.
 */
async function layOwners(s: UnionScene): Promise<void> {
  const objects: Readonly<Record<string, readonly [uid: number, mode: number]>> = {
    roots: [0, 0o755],
    shared: [0, 0o775],
    open: [0, 0o757],
    others: [NOBODY, 0o755],
  };
  for (const [name, [uid, mode]] of Object.entries(objects)) {
    await s.disk.put(`lower1/${name}`, 'x');
    await s.disk.lchown(`lower1/${name}`, uid, 0);
    await s.disk.chmod(`lower1/${name}`, mode);
    await s.disk.setxattr(`lower1/${name}`, CONTAINERS, '0:7:04711:file');
  }
  await s.disk.put('lower1/device', '');
  await s.disk.lchown('lower1/device', NOBODY, NOBODY);
  await s.disk.setxattr('lower1/device', CONTAINERS, '0:0:0666:block-8-0');
  await s.disk.setxattr('lower1', CONTAINERS, '0:0:0755:dir');
}

async function modes(mnt: Actor): Promise<Record<string, string>> {
  const shown: Record<string, string> = {};
  for (const name of ['roots', 'shared', 'open', 'others', 'device']) {
    const { mode, uid, gid } = await mnt.lstat(name);
    shown[name] = `${mode.toString(8)} ${uid}:${gid}`;
  }
  return shown;
}

const believed = '104711 0:7';
const onDisk = {
  shared: '100775 0:0',
  open: '100757 0:0',
  others: `100755 ${NOBODY}:0`,
  device: `100644 ${NOBODY}:${NOBODY}`,
};

await onUnion(
  t,
  'override_stat in root’s mount: objects of root’s in a layer that root marked',
  { needsRoot: true },
  async (s) => {
    await layOwners(s);
    await s.mount();
    s.t.same(await modes(s.mnt), { roots: believed, ...onDisk });
    // Copies keep what was shown, and no attribute that says otherwise.
    for (const name of ['others', 'device']) await s.mnt.setxattr(name, 'user.a', 'b');
    s.t.same(await s.disk.listxattr('upper/others'), ['trusted.overlay.origin', 'user.a']);
    s.t.equal((await s.disk.lstat('upper/device')).mode, 0o100644);
  },
);

for (const [name, root] of [
  ['belongs to somebody else', { uid: NOBODY, mode: 0o755 }],
  ['can be written by others', { uid: 0, mode: 0o775 }],
] as const) {
  await onUnion(
    t,
    `override_stat in root’s mount: of a layer whose root ${name} nothing is believed, and that is said`,
    { needsRoot: true },
    async (s) => {
      await layOwners(s);
      await s.disk.lchown('lower1', root.uid, 0);
      await s.disk.chmod('lower1', root.mode);
      const mount = async (more: string) =>
        run([programUnderTest(), '-o', `lowerdir=${s.union.lowers[0]!}${more}`, s.union.mnt]);
      for (const [more, wanted] of [
        ['', { roots: '100755 0:0', ...onDisk }],
        [
          ',override_stat',
          {
            roots: believed,
            shared: believed,
            open: believed,
            others: believed,
            device: '60666 0:0',
          },
        ],
      ] as const) {
        const { stderr } = await mount(more);
        s.t.equal(
          /lower1 keeps an owner in .*override_stat.*: mount with -o override_stat/.test(stderr),
          more === '',
          stderr,
        );
        const inside = await s.start();
        const found = await modes(inside);
        s.t.same(found, wanted, more);
        await inside.end();
        await s.union.unmount();
      }
    },
  );
}

await onUnion(
  t,
  'who explains and who packs believe the same',
  { layers: 2, needsRoot: true },
  async (s) => {
    await layTraps(s);
    await s.mount();
    const explained = await succeed([
      plyProgram,
      'explain',
      '--json',
      `${s.union.mnt}/closed/below`,
      `${s.union.mnt}/file`,
    ]);
    const [closed, file] = JSON.parse(explained) as {
      size: number;
      layers: { layer: number; state: string }[];
    }[];
    s.t.equal(
      closed!.layers.find(({ layer }) => layer === 2)!.state,
      'wins',
      'closed is not opaque',
    );
    s.t.equal(file!.size, 'mine..'.length);
    const { lowers } = s.union;
    const changes = upperChanges({ own: lowers[0]!, below: [lowers[1]!], form: 'overlay' });
    s.t.same(
      changes?.map(({ kind, path }) => `${kind} ${path}`).filter((line) => line.startsWith('D ')),
      [],
      'a redirect is none, and nothing is deleted by such marks',
    );
  },
);
