import { readFileSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { mountAt } from '../src/host/mount-table.js';
import { mountUnion } from '../src/index.js';
import { run, succeed } from './support/command.js';
import { layers } from './support/plyfs.js';

// This process serves: other processes look at what it mounted.

t.test('a program mounts a union, and unmounts it', async (t) => {
  const { top, bottom, upper, work, mountpoint } = await layers(t);
  const union = await mountUnion({ lowers: [top, bottom], upper, work, mountpoint });
  t.equal(union.mountpoint, mountpoint);
  t.match(mountAt(mountpoint), { type: 'fuse.plyfs' });
  await succeed(['sh', '-c', 'cat "$0/both" >"$0/copy"', mountpoint]);
  await union.unmount();
  await union.closed;
  t.equal(mountAt(mountpoint), undefined);
  t.equal(readFileSync(join(upper, 'copy'), 'utf8'), 'top\n');
  await union.unmount();
});

t.test('awkward paths, as text and as bytes, and further options', async (t) => {
  const { directory, top, bottom, mountpoint } = await layers(t);
  const odd = `${directory}/a,b:c\\d`;
  await succeed(['cp', '-a', bottom, odd]);
  writeFileSync(join(odd, 'odd'), 'odd\n');
  const warnings: string[] = [];
  for (const path of [odd, Buffer.from(odd)]) {
    const union = await mountUnion({
      lowers: [top, path],
      mountpoint,
      options: 'fsname=second,nfs_export=on',
      warn: (sentence) => warnings.push(sentence),
    });
    t.match(mountAt(mountpoint), { source: 'second' });
    t.equal(await succeed(['ls', mountpoint]), 'both\nlow\nodd\n');
    t.match(await run(['touch', join(mountpoint, 'x')]), { status: 1, stderr: /Read-only/ });
    await union.unmount();
  }
  t.match(warnings, [/nfs_export=on/, /nfs_export=on/]);
});

t.test('a mount that is in use, and one that someone else unmounts', async (t) => {
  const { top, upper, work, mountpoint } = await layers(t);
  const union = await mountUnion({ lowers: [top], upper, work, mountpoint });
  // Not by `cwd`: this process would wait for its child to get there, and the child for this
  // process to answer.
  const user = spawn('sh', ['-c', 'cd "$0" && echo there && exec cat', mountpoint], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  await once(user.stdout, 'data');
  await t.rejects(union.unmount(), { code: 'mount-busy' });
  t.match(mountAt(mountpoint), { type: 'fuse.plyfs' });
  user.stdin.end();
  await once(user, 'close');
  await succeed(['umount', mountpoint]);
  await union.closed;
});

t.test('what cannot be mounted is refused with a code, and leaves nothing', async (t) => {
  const { top, upper, work, mountpoint, directory } = await layers(t);
  await t.rejects(mountUnion({ lowers: [], mountpoint }), { code: 'usage' });
  await t.rejects(mountUnion({ lowers: [top], upper, mountpoint }), { code: 'usage' });
  await t.rejects(mountUnion({ lowers: [join(directory, 'missing')], mountpoint }), {
    name: 'PlyfsError',
  });
  await t.rejects(
    mountUnion({ lowers: [top], upper, work, mountpoint: join(directory, 'missing') }),
    { code: 'mountpoint-missing' },
  );
  t.equal(mountAt(mountpoint), undefined);
  // The work directory is free again.
  const union = await mountUnion({ lowers: [top], upper, work, mountpoint });
  await union.unmount();
});
