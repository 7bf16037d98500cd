/** Everything an ordinary user does: mounting through fusermount3. */
import { chownSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { mountAt } from '../../src/host/mount-table.js';
import { ended, run, succeed } from '../support/command.js';
import { daemonsOf } from '../support/mounts.js';
import { layers } from '../support/plyfs.js';
import { NOBODY, asNobody, copyProgram, isRoot, openFuseDevice } from '../support/users.js';

const skip =
  !isRoot &&
  'the test becomes another user, which takes root; as an ordinary user the other tests are this one';

t.test(
  'an ordinary user mounts, writes, is told what is wrong, and unmounts',
  { skip },
  async (t) => {
    openFuseDevice(t);
    const { directory, top, bottom, upper, work, mountpoint, options } = await layers(t);
    for (const path of [directory, top, bottom, upper, work, mountpoint])
      chownSync(path, NOBODY, NOBODY);
    for (const layer of [top, bottom])
      for (const name of readdirSync(layer)) chownSync(join(layer, name), NOBODY, NOBODY);
    const program = copyProgram(directory);
    const plyfs = join(program, 'bin/plyfs');
    const ply = join(program, 'bin/ply');

    t.match(await run([...asNobody, plyfs, '-o', options, mountpoint]), {
      status: 0,
      stdout: '',
      stderr: '',
    });
    t.match(mountAt(mountpoint), { type: 'fuse.plyfs' });
    const [daemon] = daemonsOf(mountpoint);
    t.equal(statSync(`/proc/${daemon!}`).uid, NOBODY);
    await succeed([
      ...asNobody,
      'sh',
      '-c',
      'cd "$0" && echo more >>low && rm both && mkdir new && touch new/file',
      mountpoint,
    ]);
    t.equal(await succeed([...asNobody, 'cat', join(upper, 'low')]), 'low\nmore\n');
    t.not((await run([...asNobody, 'cat', join(mountpoint, 'both')])).status, 0);
    t.match(
      await succeed([...asNobody, ply, 'mounts']),
      new RegExp(`^${mountpoint} .* ${NOBODY} +plyfs$`, 'm'),
    );
    t.match(await run([...asNobody, ply, 'umount', mountpoint]), { status: 0, stderr: '' });
    await ended(daemon!);

    await succeed([...asNobody, plyfs, '-o', options, mountpoint]);
    const [again] = daemonsOf(mountpoint);
    t.equal(
      await succeed([...asNobody, 'ls', mountpoint]),
      'low\nnew\n',
      'what was deleted stays deleted',
    );
    await succeed([...asNobody, 'fusermount3', '-u', mountpoint]);
    await ended(again!);

    t.match(
      await run([...asNobody, plyfs, '-o', options, '/usr']),
      { status: 1, stderr: /^plyfs: [^\n]*\/usr[^\n]*\n$/ },
      'not at a place that is not theirs',
    );
  },
);
