/** What the drivers find on an XFS of their own: d_type, project ids and quotas, reflinks. */
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { overlay2 } from '../../src/graphdriver/drivers/overlay2.js';
import type { DriverOptions } from '../../src/graphdriver/driver.js';
import { backingFileSystem } from '../../src/graphdriver/feature-detection.js';
import { fuseMounter } from '../../src/graphdriver/mounters/fuse.js';
import { sys } from '../../src/sys/index.js';
import { run, succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

/** A mounted XFS, or why there is none: what this kernel's XFS lacks is no failure and nothing to skip, and is said as a comment. */
async function xfs(t: Test, make: readonly string[], options: string): Promise<{ directory: string } | { reason: string }> {
  const base = await workspace(t, 'mnt');
  // The smallest that mkfs.xfs makes.
  await succeed(['truncate', '-s', '300M', `${base}/image`]);
  await succeed(['mkfs.xfs', '-q', ...make, `${base}/image`]);
  const { status, stderr } = await run(['mount', '-t', 'xfs', '-o', options, `${base}/image`, `${base}/mnt`]);
  return status === 0
    ? { directory: `${base}/mnt` }
    : { reason: `an XFS with ${options} cannot be mounted here: ${stderr.trim().split('\n')[0] ?? ''}` };
}

function optionsFor(directory: string): DriverOptions {
  return { home: `${directory}/overlay2`, readOnly: false, probe: true, options: [], mounter: 'fuse' };
}

const noFuse = isRoot ? (fuseMounter.unsupported() ?? false) : 'mounting an image takes root';

/** One test on an XFS of its own. */
async function onXfs(
  name: string,
  make: readonly string[],
  options: string,
  body: (t: Test, directory: string) => Promise<void> | void,
): Promise<void> {
  if (noFuse !== false) {
    t.test(name, { skip: noFuse }, () => undefined);
    return;
  }
  const made = await xfs(t, make, options);
  if ('reason' in made) t.comment(`excluded: ${name}: ${made.reason}`);
  else await t.test(name, (t) => body(t, made.directory));
}

const id = 'a'.repeat(64);

await onXfs('without d_type overlay2 is refused in Docker’s words', ['-m', 'crc=0', '-n', 'ftype=0'], 'loop', async (t, directory) => {
  t.match(await overlay2.unsupported(optionsFor(directory)), /formatted without d_type support, which leads to incorrect behavior/);
});

await onXfs('without project quotas a size is refused, and project ids are inherited', [], 'loop', async (t, directory) => {
  t.equal(backingFileSystem(directory), 'xfs');
  const driver = await overlay2.open(optionsFor(directory));
  await t.rejects(driver.createReadWrite(id, undefined, { size: 1 << 20 }), { code: 'option-unsupported', message: /pquota/ });
  await t.rejects(overlay2.open({ ...optionsFor(directory), options: ['overlay2.size=10M'] }), { code: 'option-unsupported' });
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
});

await onXfs('with project quotas a read-write layer holds no more than its size', [], 'loop,pquota', async (t, directory) => {
  const driver = await overlay2.open(optionsFor(directory));
  await driver.create('b'.repeat(64), undefined);
  await driver.createReadWrite(id, 'b'.repeat(64), { size: 1 << 20 });
  await driver.createReadWrite('c'.repeat(64), 'b'.repeat(64), { size: 8 << 20 });
  const { own } = driver.directories(id);
  t.throws(() => writeFileSync(`${own}/file`, Buffer.alloc(2 << 20)), { code: /EDQUOT|ENOSPC/ });
  writeFileSync(`${driver.directories('c'.repeat(64)).own}/file`, Buffer.alloc(2 << 20));
  t.pass('another layer has its own limit');
});
