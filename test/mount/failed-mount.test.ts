/** A union whose layers were opened and that could not be mounted leaves nothing behind. */
import { readdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import t from 'tap';
import { mountUnion, type MountUnionOptions } from '../../src/index.js';
import { mountAt } from '../../src/host/mount-table.js';
import { run } from '../support/command.js';
import { layers } from '../support/plyfs.js';

/** More than the page that mount(2) takes options from, and fusermount3's line as well. */
const TOO_LONG = 'x'.repeat(70_000);

/** Each is refused after the layers were opened. */
const refusals: Record<
  string,
  { readonly change: Partial<MountUnionOptions>; readonly code: string }
> = {
  'by mount(2)': { change: { options: `fsname=${TOO_LONG}` }, code: 'mount-failed' },
  'as layers that cannot be united': {
    change: { options: 'redirect_dir=on,userxattr' },
    code: 'redirect-denied',
  },
  'by the other transport': {
    change: {
      options: 'transport=fuse-native',
      mountpoint: Buffer.from('not-\xff-utf8', 'latin1'),
    },
    code: 'mountpoint-unusable',
  },
};

for (const [what, { change, code }] of Object.entries(refusals)) {
  await t.test(`a mount refused ${what} closes the layers and frees the workdir`, async (t) => {
    const { directory, top, bottom, upper, work, mountpoint } = await layers(t);
    const unusual = Buffer.from(`${directory}/`);
    const at =
      change.mountpoint === undefined
        ? mountpoint
        : Buffer.concat([unusual, Buffer.from(change.mountpoint)]);
    if (typeof at !== 'string') await mkdir(at);
    const refused = (): Promise<unknown> =>
      mountUnion({ lowers: [top, bottom], upper, work, ...change, mountpoint: at });
    const open = (): number => readdirSync('/proc/self/fd').length;

    // The first one may leave open what this process keeps for as long as it lives.
    await t.rejects(refused(), { code });
    const before = open();
    for (let i = 0; i < 3; i++) await t.rejects(refused(), { code });
    t.equal(open(), before, 'descriptors of this process');
    t.equal((await run(['flock', '-n', work, 'true'])).status, 0, 'the workdir is not locked');
    const left = readdirSync(work, { recursive: true });
    t.same(
      left.filter((name) => name !== 'work'),
      [],
      'nothing lies in it',
    );

    const after: number[] = [];
    for (let i = 0; i < 3; i++) {
      const union = await mountUnion({ lowers: [top, bottom], upper, work, mountpoint });
      t.match(mountAt(mountpoint), { type: 'fuse.plyfs' }, 'the same layers can be mounted');
      await union.unmount();
      after.push(open());
    }
    t.equal(after[2], after[1], 'a mount that has ended closes its layers, too');
  });
}
