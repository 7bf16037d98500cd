/** The driver suite on fuse-overlayfs, mounted by plyfs. */
import t from 'tap';
import { fuseOverlayfs } from '../../src/graphdriver/drivers/fuse-overlayfs.js';
import { fuseMounter } from '../../src/graphdriver/mounters/fuse.js';
import { isRoot } from '../support/users.js';
import { S_IFCHR } from '../suites/constants.js';
import { driverSuite } from '../suites/driver-suite.js';
import { DriverScene, id } from '../suites/driver/scene.js';

t.setTimeout(300_000);
const skip = fuseMounter.unsupported() ?? false;
await t.test('fuse-overlayfs', { skip }, (t) =>
  driverSuite(t, { definition: fuseOverlayfs, mounter: 'fuse' }),
);

t.test(
  'a read-write layer as fuse-overlayfs leaves it, with devices and markers, is read and written',
  { skip: skip || (!isRoot && 'device nodes take root') },
  async (t) => {
    const scene = await DriverScene.create(t, { definition: fuseOverlayfs, mounter: 'fuse' });
    await scene.add(id(1), undefined, [
      { name: 'gone/', type: 'directory' },
      { name: 'gone/file', content: 'x' },
      { name: 'deleted', content: 'x' },
      { name: 'opaque/', type: 'directory' },
      { name: 'opaque/below', content: 'x' },
    ]);
    await scene.driver.createReadWrite(id(2), id(1));
    const upper = await scene.actor(scene.own(id(2)));
    await upper.mknod('gone', S_IFCHR, 0, 0);
    await upper.put('.wh.deleted', '');
    await upper.mkdir('opaque');
    await upper.put('opaque/.wh..wh..opq', '');
    await upper.mknod('opaque/.wh..opq', S_IFCHR, 0, 0);
    await upper.setxattr('opaque', 'trusted.overlay.opaque', 'y');
    await upper.put('opaque/own', 'x');
    t.same(await scene.paths(id(2)), ['opaque/', 'opaque/own']);
    await scene.with(id(2), false, async (_path, actor) => {
      await actor.mkdir('gone');
      await actor.put('gone/new', 'x');
      await actor.put('deleted', 'again');
      await actor.unlink('opaque/own');
      await actor.rmdir('opaque');
    });
    t.same(await scene.paths(id(2)), ['deleted', 'gone/', 'gone/new']);
    t.same(await scene.changes(id(2), id(1)), [
      'C /deleted',
      'C /gone',
      'D /gone/file',
      'A /gone/new',
      'D /opaque',
    ]);
    await scene.end();
  },
);
