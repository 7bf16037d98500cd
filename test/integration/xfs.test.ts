/**
 * What drivers and unions find on an XFS of their own: d_type, project ids and quotas, any number
 * of attributes.
 */
import {
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import t, { type Test } from 'tap';
import { bytesOf, type ByteString } from '../../src/base/bytes.js';
import { check, E } from '../../src/base/errno.js';
import { copyTree } from '../../src/graphdriver/copy-tree.js';
import { overlay2 } from '../../src/graphdriver/drivers/overlay2.js';
import type { DriverOptions } from '../../src/graphdriver/driver.js';
import { backingFileSystem } from '../../src/graphdriver/feature-detection.js';
import { fuseMounter } from '../../src/graphdriver/mounters/fuse.js';
import { AT_FDCWD, XATTR_LIST_MAX } from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { run, succeed, type Outcome } from '../support/command.js';
import { figure } from '../support/figures.js';
import { tarOf } from '../support/layer-tar.js';
import { plyOn } from '../support/ply.js';
import { plyfs } from '../support/plyfs.js';
import { asNobody, copyProgram, isRoot, NOBODY, openFuseDevice } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

/**
 * A mounted XFS, or why there is none: what this kernel's XFS lacks is no failure and nothing to
 * skip, and is said as a comment.
 */
async function xfs(
  t: Test,
  make: readonly string[],
  options: string,
): Promise<{ directory: string } | { reason: string }> {
  const base = await workspace(t, 'mnt');
  // The smallest that mkfs.xfs makes.
  await succeed(['truncate', '-s', '300M', `${base}/image`]);
  await succeed(['mkfs.xfs', '-q', ...make, `${base}/image`]);
  const { status, stderr } = await run([
    'mount',
    '-t',
    'xfs',
    '-o',
    options,
    `${base}/image`,
    `${base}/mnt`,
  ]);
  return status === 0
    ? { directory: `${base}/mnt` }
    : {
        reason: `an XFS with ${options} cannot be mounted here: ${stderr.trim().split('\n')[0] ?? ''}`,
      };
}

function optionsFor(directory: string): DriverOptions {
  return {
    home: `${directory}/overlay2`,
    readOnly: false,
    probe: true,
    options: [],
    mounter: 'fuse',
  };
}

const noFuse = isRoot ? (fuseMounter.unsupported() ?? false) : 'mounting an image takes root';

/** One test on an XFS of its own. */
async function onXfs(
  t: Test,
  name: string,
  make: readonly string[],
  options: string,
  body: (t: Test, directory: string) => Promise<void> | void,
): Promise<void> {
  const made = await xfs(t, make, options);
  if ('reason' in made) t.comment(`excluded: ${name}: ${made.reason}`);
  else await t.test(name, (t) => body(t, made.directory));
}

const id = 'a'.repeat(64);

const ACL = 'system.posix_acl_access' as ByteString;
/** u::rw-,u:1234:r--,g::r--,m::r--,o::r-- (linux/posix_acl_xattr.h). */
const acl = Buffer.from(
  '0200000001000600ffffffff02000400d204000004000400ffffffff10000400ffffffff20000400ffffffff',
  'hex',
);

/** 1,200 attributes, whose names take 240 kB: listxattr(2) returns 64 KiB at most. */
const many: readonly ByteString[] = Array.from({ length: 1200 }, (_, index) =>
  bytesOf(
    `${index % 3 === 0 ? 'user' : index % 3 === 1 ? 'trusted' : 'security'}.${String(index).padStart(4, '0')}${'n'.repeat(190)}`,
  ),
);
/** A symbolic link and a pipe have no `user.` ones (xattr(7)). */
const fewer = many.filter((name) => !name.startsWith('user.'));

function give(t: Test, path: string, names: readonly ByteString[]): void {
  for (const [index, name] of names.entries())
    check(sys.setxattrat(AT_FDCWD, bytesOf(path), name, Buffer.from(`value ${index}`), 0));
  t.equal(
    sys.listxattrat(AT_FDCWD, bytesOf(path), Buffer.alloc(XATTR_LIST_MAX)),
    -E.E2BIG,
    `${path} has more than can be listed`,
  );
}

/** Asked one by one, and so without the list that is tested: each name's value, or its errno. */
function valuesOf(path: string, names: readonly ByteString[]): Map<string, string | number> {
  const value = Buffer.alloc(128);
  return new Map(
    names.map((name) => {
      const size = sys.getxattrat(AT_FDCWD, bytesOf(path), name, value);
      return [name, size < 0 ? size : value.toString('latin1', 0, size)];
    }),
  );
}

const objects: readonly {
  name: string;
  names: readonly ByteString[];
  make: (path: string) => void;
  touch: string;
}[] = [
  {
    name: 'file',
    names: [...many, ACL],
    make: (path) => writeFileSync(path, 'low'),
    touch: 'echo more >> file',
  },
  { name: 'dir', names: [...many, ACL], make: (path) => mkdirSync(path), touch: 'touch dir/new' },
  {
    name: 'link',
    names: fewer,
    make: (path) => symlinkSync('file', path),
    touch: 'chown -h 1:1 link',
  },
  {
    name: 'pipe',
    names: fewer,
    make: (path) => check(sys.mknodat(AT_FDCWD, bytesOf(path), 0o010600, 0, 0)),
    touch: 'chmod 640 pipe',
  },
];

await t.test('on file systems of their own', { skip: noFuse }, async (t) => {
  await onXfs(
    t,
    'without d_type overlay2 is refused in Docker’s words',
    ['-m', 'crc=0', '-n', 'ftype=0'],
    'loop',
    async (t, directory) => {
      t.match(
        await overlay2.unsupported(optionsFor(directory)),
        /formatted without d_type support, which leads to incorrect behavior/,
      );
    },
  );

  await onXfs(
    t,
    'without project quotas a size is refused, and project ids are inherited',
    [],
    'loop',
    async (t, directory) => {
      t.equal(backingFileSystem(directory), 'xfs');
      const driver = await overlay2.open(optionsFor(directory));
      await t.rejects(driver.createReadWrite(id, undefined, { size: 1 << 20 }), {
        code: 'option-unsupported',
        message: /pquota/,
      });
      await t.rejects(overlay2.open({ ...optionsFor(directory), options: ['overlay2.size=10M'] }), {
        code: 'option-unsupported',
      });
      t.same(driver.ids(), []);

      mkdirSync(`${directory}/project`);
      const fd = openSync(`${directory}/project`, 'r');
      t.equal(sys.getProjectId(fd), 0);
      t.equal(sys.setProjectId(fd, 42), 0);
      closeSync(fd);
      mkdirSync(`${directory}/project/below`);
      const below = openSync(`${directory}/project/below`, 'r');
      t.equal(sys.getProjectId(below), 42);
      closeSync(below);
    },
  );

  await onXfs(
    t,
    'with project quotas a read-write layer holds no more than its size',
    [],
    'loop,pquota',
    async (t, directory) => {
      const driver = await overlay2.open(optionsFor(directory));
      await driver.create('b'.repeat(64), undefined);
      await driver.createReadWrite(id, 'b'.repeat(64), { size: 1 << 20 });
      await driver.createReadWrite('c'.repeat(64), 'b'.repeat(64), { size: 8 << 20 });
      const { own } = driver.directories(id);
      t.throws(() => writeFileSync(`${own}/file`, Buffer.alloc(2 << 20)), {
        code: /EDQUOT|ENOSPC/,
      });
      writeFileSync(`${driver.directories('c'.repeat(64)).own}/file`, Buffer.alloc(2 << 20));
      t.pass('another layer has its own limit');
    },
  );

  await onXfs(t, 'more attributes than listxattr(2) returns', [], 'loop', async (t, directory) => {
    const at = (name: string): string => `${directory}/${name}`;
    mkdirSync(at('low'));
    for (const { name, names, make } of objects) {
      make(at(`low/${name}`));
      give(
        t,
        at(`low/${name}`),
        names.filter((attribute) => attribute !== ACL),
      );
      if (names.includes(ACL))
        check(sys.setxattrat(AT_FDCWD, bytesOf(at(`low/${name}`)), ACL, acl, 0));
    }

    const list = (path: string) => run(['getfattr', '-h', '-m', '-', path]);
    for (const by of ['kernel', 'plyfs']) {
      const [upper, work, mountpoint] = [at(`${by}-upper`), at(`${by}-work`), at(`${by}-mnt`)];
      for (const path of [upper, work, mountpoint]) mkdirSync(path);
      const options = `lowerdir=${at('low')},upperdir=${upper},workdir=${work}`;
      if (by === 'kernel')
        await succeed(['mount', '-t', 'overlay', 'overlay', '-o', options, mountpoint]);
      else t.equal((await plyfs('-o', options, mountpoint)).status, 0);
      t.match(
        (await list(`${mountpoint}/file`)).stderr,
        /Argument list too long/,
        `${by}: listxattr(2) through the mount stays bounded`,
      );
      for (const { touch } of objects) await succeed(['sh', '-c', touch], { cwd: mountpoint });
      t.match(
        (await list(`${mountpoint}/file`)).stderr,
        /Argument list too long/,
        `${by}: after the copy-up as well`,
      );
      await succeed(['umount', mountpoint]);
    }
    for (const { name, names } of objects) {
      const copied = valuesOf(at(`plyfs-upper/${name}`), names);
      t.same(
        copied,
        valuesOf(at(`low/${name}`), names),
        `${name} was copied up with all its attributes`,
      );
      t.same(
        copied,
        valuesOf(at(`kernel-upper/${name}`), names),
        `${name}: as the kernel's overlay does`,
      );
      figure(t, copied.size, `attributes copied up with a ${name}`);
    }

    copyTree(at('low'), at('tree'), at('links'));
    for (const { name, names } of objects)
      t.same(
        valuesOf(at(`tree/${name}`), names),
        valuesOf(at(`low/${name}`), names),
        `${name} in a copied tree`,
      );
  });

  await onXfs(
    t,
    'a container with more attributes than can be listed is compared and committed',
    [],
    'loop',
    async (t, directory) => {
      const ply = plyOn(`${directory}/root`, '--storage-driver', 'overlay2');
      writeFileSync(`${directory}/one.tar`, await tarOf([{ name: 'file', content: 'low' }]));
      await ply('import', '-q', `${directory}/one.tar`, 'one:1');
      await ply('create', '--name', 'box', 'one:1');
      const mountpoint = `${directory}/mnt`;
      mkdirSync(mountpoint);
      const names = many.filter((name) => name.startsWith('user.'));
      writeFileSync(
        `${directory}/restored`,
        ['# file: file', ...names.map((name, index) => `${name}="value ${index}"`), ''].join('\n'),
      );
      await ply('mount', 'box', mountpoint);
      await succeed(['setfattr', `--restore=${directory}/restored`], { cwd: mountpoint });
      await succeed(['sh', '-c', 'echo more >> file'], { cwd: mountpoint });
      await ply('umount', mountpoint);
      t.match(await ply('diff', 'box'), /^C \/file$/m);
      await ply('commit', '-q', 'box', 'one:2');

      await ply('save', '-o', `${directory}/saved.tar`, 'one:2');
      const again = plyOn(`${directory}/again`, '--storage-driver', 'vfs');
      await again('load', '-q', '-i', `${directory}/saved.tar`);
      await again('mount', 'one:2', mountpoint);
      const shown = await succeed([
        'getfattr',
        '--absolute-names',
        '-d',
        `${mountpoint}/file`,
      ]).catch(String);
      t.match(shown, /Argument list too long/, 'loaded elsewhere, they are as many');
      for (const [index, name] of [...names.entries()].filter(([index]) => index % 50 === 0)) {
        t.equal(
          await succeed([
            'getfattr',
            '--absolute-names',
            '--only-values',
            '-n',
            name,
            `${mountpoint}/file`,
          ]),
          `value ${index}`,
        );
      }
    },
  );

  await onXfs(
    t,
    'who may not list more attributes is told so',
    [],
    'loop',
    async (t, directory) => {
      openFuseDevice(t);
      const program = copyProgram(await workspace(t));
      const as = (words: readonly string[]): Promise<Outcome> =>
        run([...asNobody, ...words], { cwd: directory });
      const done = async (words: readonly string[]): Promise<void> => {
        const { status, stderr } = await as(words);
        t.equal(status, 0, stderr);
      };
      chownSync(directory, NOBODY, NOBODY);
      const names = many.filter((name) => name.startsWith('user.'));
      const attributes = names.map((name, index) => `${name}="value ${index}"\n`).join('');
      writeFileSync(
        `${directory}/restored`,
        ['file', 'dir'].map((path) => `# file: ${path}\n${attributes}`).join('\n'),
      );
      await done(['mkdir', 'low', 'low/dir', 'upper', 'work', 'mnt']);
      await done(['touch', 'low/file', 'low/dir/below']);
      await done(['sh', '-c', 'cd low && setfattr --restore=../restored']);

      await done([`${program}/bin/plyfs`, '-o', 'lowerdir=low,upperdir=upper,workdir=work', 'mnt']);
      await done(['cat', 'mnt/file', 'mnt/dir/below']);
      for (const path of ['file', 'dir']) {
        t.match(
          (await as(['setfattr', '-n', 'user.new', `mnt/${path}`])).stderr,
          /Argument list too long/,
          `${path} is not copied up in part`,
        );
      }
      t.same(readdirSync(`${directory}/upper`), []);
      await succeed(['umount', `${directory}/mnt`]);

      const ply = [`${program}/bin/ply`, '--root', `${directory}/root`];
      writeFileSync(
        `${directory}/one.tar`,
        await tarOf([
          { name: 'file', content: 'low' },
          { name: 'dir/', type: 'directory' },
        ]),
      );
      await done([...ply, 'import', '-q', 'one.tar', 'one:1']);
      await done([...ply, 'create', '--name', 'box', 'one:1']);
      await done([...ply, 'mount', 'box', 'mnt']);
      await done(['sh', '-c', 'cd mnt && setfattr --restore=../restored']);
      await done([...ply, 'umount', 'mnt']);
      const { status, stderr } = await as([...ply, 'commit', '-q', 'box', 'one:2']);
      t.not(status, 0);
      t.match(
        stderr,
        /has more attributes than can be listed .* root of the machine can list them/,
      );
    },
  );
});
