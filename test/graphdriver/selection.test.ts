/** Which driver a data root is used with: Docker's rules. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { PlyfsError } from '../../src/base/error.js';
import { drivers } from '../../src/graphdriver/drivers/index.js';
import { fuseMounter } from '../../src/graphdriver/mounters/fuse.js';
import { selectDriver, type SelectionOptions } from '../../src/graphdriver/selection.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

const defaults: SelectionOptions = {
  env: {},
  options: [],
  mounter: 'fuse',
  readOnly: false,
  probe: true,
};
const fuse = fuseMounter.unsupported();

/** The name of the driver chosen, or the error's code. */
async function choice(root: string, options: Partial<SelectionOptions> = {}): Promise<string> {
  try {
    return (await selectDriver(root, { ...defaults, ...options })).name;
  } catch (error) {
    if (error instanceof PlyfsError) return error.code;
    throw error;
  }
}

/** A data root with these directories, each used. */
async function rootOf(t: Test, ...used: readonly string[]): Promise<string> {
  const root = await workspace(t);
  for (const name of used) {
    mkdirSync(`${root}/${name}`);
    writeFileSync(`${root}/${name}/something`, '');
  }
  return root;
}

t.test('the order is Docker’s', (t) => {
  t.same(
    drivers.map((driver) => driver.name),
    ['overlay2', 'fuse-overlayfs', 'aufs', 'vfs'],
  );
  t.end();
});

t.test('a fresh root has the first that works', { skip: fuse ?? false }, async (t) => {
  t.equal(await choice(await rootOf(t)), 'overlay2');
});

t.test(
  'a driver that is named is the one: an option before the environment, and both before what the root was used with',
  async (t) => {
    const root = await rootOf(t, 'fuse-overlayfs');
    t.equal(await choice(root, { explicit: 'vfs', env: { DOCKER_DRIVER: 'overlay2' } }), 'vfs');
    t.equal(await choice(root, { env: { DOCKER_DRIVER: 'vfs' } }), 'vfs');
    t.equal(await choice(root, { explicit: 'nonsense' }), 'driver-unknown');
    t.equal(await choice(root, { explicit: 'toString' }), 'driver-unknown');
  },
);

t.test(
  'a root is used with the driver it has been used with',
  { skip: fuse ?? false },
  async (t) => {
    for (const name of ['fuse-overlayfs', 'aufs'])
      t.equal(await choice(await rootOf(t, name)), name);
    t.equal(await choice(await rootOf(t, 'vfs')), 'overlay2', 'vfs does not count');
    const root = await rootOf(t, 'fuse-overlayfs');
    rmSync(`${root}/fuse-overlayfs/something`);
    t.equal(await choice(root), 'overlay2', 'an empty directory does not count');
    t.equal(
      await choice(root, { env: { DOCKER_DRIVER: '' } }),
      'overlay2',
      'nor does an empty variable',
    );
  },
);

t.test('a root used with several is refused in Docker’s words', async (t) => {
  const root = await rootOf(t, 'overlay2', 'aufs');
  await t.rejects(selectDriver(root, defaults), {
    code: 'several-drivers',
    message: `${root} contains several valid graphdrivers: aufs, overlay2; cleanup or explicitly choose storage driver (-s <DRIVER>)`,
  });
  t.equal(await choice(root, { explicit: 'vfs' }), 'vfs', 'unless one is named');
});

t.test('drivers that are no more are named, and so are roots of theirs', async (t) => {
  for (const name of ['overlay', 'devicemapper', 'btrfs', 'zfs']) {
    await t.rejects(selectDriver(await rootOf(t), { ...defaults, explicit: name }), {
      code: 'driver-removed',
      message: new RegExp(`\\b${name}\\b.*https://`),
    });
    t.equal(await choice(await rootOf(t, name)), 'driver-removed', `a root of ${name}`);
  }
});

t.test(
  'a root whose driver does not work here is an error, not another driver',
  { skip: !isRoot && 'the kernel’s overlay takes root' },
  async (t) => {
    // The kernel's overlay does not mount what fuse-overlayfs lays out.
    t.equal(
      await choice(await rootOf(t, 'fuse-overlayfs'), { mounter: 'kernel' }),
      'driver-unsupported',
    );
  },
);
