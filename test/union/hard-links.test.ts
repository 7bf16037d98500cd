/**
 * Several names of one lower file: one file while the mount lives, and afterwards what was written
 * through each name.
 */
import fc from 'fast-check';
import t from 'tap';
import { Actor } from '../suites/actor.js';
import { O_RDWR, O_WRONLY } from '../suites/constants.js';
import { overlayPrefix } from '../suites/mounters.js';
import type { UnionScene } from '../suites/union/scene.js';
import { dropCaches, onUnion } from './with-union.js';

t.setTimeout(120_000);

/** `a`, `dir/b` and `other/c` are one file of the lower layer. */
const names = ['a', 'dir/b', 'other/c'] as const;

async function layLinks(s: UnionScene): Promise<void> {
  await s.lay('lower1', { a: 'first content', 'dir/near': 'x', 'other/near': 'x' });
  await s.disk.link('lower1/a', 'lower1/dir/b');
  await s.disk.link('lower1/a', 'lower1/other/c');
}

async function overwrite(actor: Actor, name: string, content: string): Promise<void> {
  const fd = await actor.open(name, O_WRONLY);
  await actor.write(fd, content, 0);
  await actor.close(fd);
}

const link = {};

for (const known of [true, false]) {
  const when = known ? 'all names known before' : 'the others not looked up before';
  await onUnion(
    t,
    `what is written through one name is read through the others, and after a remount (${when})`,
    link,
    async (s) => {
      await layLinks(s);
      await s.mount();
      if (known) for (const name of names) s.t.equal((await s.mnt.lstat(name)).nlink, 3);
      await overwrite(s.mnt, 'a', 'FIRST');
      if (!known) dropCaches();
      for (const name of names) {
        s.t.equal(await s.mnt.get(name), 'FIRST content', name);
        s.t.equal((await s.mnt.lstat(name)).nlink, 3, `${name}: link count`);
      }
      const inos = new Set<bigint>();
      for (const name of names) inos.add((await s.mnt.lstat(name)).ino);
      s.t.equal(inos.size, 1, 'one inode number');
      await overwrite(s.mnt, 'other/c', 'THIRD');
      s.t.equal(await s.mnt.get('dir/b'), 'THIRD content');
      await s.remount();
      for (const name of names)
        s.t.equal(await s.mnt.get(name), 'THIRD content', `${name} after a remount`);
      await overwrite(s.mnt, 'dir/b', 'AGAIN');
      for (const name of names)
        s.t.equal(await s.mnt.get(name), 'AGAIN content', `${name} is still the same file`);
      s.t.equal((await s.mnt.lstat('a')).nlink, 3);
      s.t.equal(await s.disk.get('lower1/a'), 'first content', 'the lower is untouched');
    },
  );
}

await onUnion(
  t,
  'a name written through and then removed: the others have what was written',
  link,
  async (s) => {
    await layLinks(s);
    await s.mount();
    await overwrite(s.mnt, 'a', 'FIRST');
    await s.mnt.unlink('a');
    dropCaches();
    await s.fails('ENOENT', s.mnt.lstat('a'));
    s.t.equal(await s.mnt.get('dir/b'), 'FIRST content');
    s.t.equal((await s.mnt.lstat('dir/b')).nlink, 2);
    await overwrite(s.mnt, 'dir/b', 'SECND');
    s.t.equal(await s.mnt.get('other/c'), 'SECND content');
    await s.remount();
    await s.fails('ENOENT', s.mnt.lstat('a'));
    for (const name of ['dir/b', 'other/c'])
      s.t.equal(await s.mnt.get(name), 'SECND content', name);
  },
);

await onUnion(
  t,
  'a name removed before anything is written: the others count one less and are written',
  link,
  async (s) => {
    await layLinks(s);
    await s.mount();
    await s.mnt.unlink('a');
    s.t.equal((await s.mnt.lstat('dir/b')).nlink, 2);
    dropCaches();
    s.t.equal((await s.mnt.lstat('dir/b')).nlink, 2, 'also when the kernel forgot');
    await overwrite(s.mnt, 'dir/b', 'SECND');
    s.t.equal(await s.mnt.get('other/c'), 'SECND content');
    s.t.equal((await s.mnt.lstat('other/c')).nlink, 2);
    await s.mnt.unlink('other/c');
    s.t.equal((await s.mnt.lstat('dir/b')).nlink, 1);
    const fd = await s.mnt.open('dir/b', O_RDWR);
    await s.mnt.unlink('dir/b');
    s.t.equal((await s.mnt.fstat(fd)).nlink, 0);
    s.t.equal(await s.mnt.read(fd, 100, 0), 'SECND content');
    await s.mnt.close(fd);
    await s.remount();
    for (const name of names) await s.fails('ENOENT', s.mnt.lstat(name));
  },
);

await onUnion(
  t,
  'a name written through and removed, another of which nobody has heard before',
  link,
  async (s) => {
    await layLinks(s);
    await s.mount();
    await overwrite(s.mnt, 'a', 'FIRST');
    s.t.notOk(
      (await s.disk.listxattr('upper/a')).includes(`${overlayPrefix}origin`),
      'the number of the lower file stays with the names that are still its own',
    );
    await s.mnt.unlink('a');
    dropCaches();
    s.t.equal(await s.mnt.get('dir/b'), 'FIRST content', 'it leads to what was written');
    s.t.equal((await s.mnt.lstat('dir/b')).nlink, 2);
    await s.remount();
    s.t.equal(await s.mnt.get('dir/b'), 'FIRST content', 'after a remount, too');
    s.t.equal(
      await s.mnt.get('other/c'),
      'first content',
      'a name that was never used is the lower file again, as without an index on the kernel',
    );
  },
);

await onUnion(
  t,
  'a further name that a lookup brings into the upper leaves its directory its times',
  link,
  async (s) => {
    await layLinks(s);
    await s.disk.utimens('lower1/dir', [100, 1], [200, 2]);
    await s.disk.utimens('lower1/other', [300, 3], [400, 4]);
    await s.mount();
    await s.mnt.lstat('other/c');
    await overwrite(s.mnt, 'a', 'FIRST');
    await s.mnt.lstat('dir/b');
    const times = async (name: string) => {
      const { atime, mtime } = await s.disk.lstat(`upper/${name}`);
      return { atime, mtime };
    };
    s.t.same(await times('dir'), { atime: 100_000_000_001n, mtime: 200_000_000_002n });
    s.t.same(await times('other'), { atime: 300_000_000_003n, mtime: 400_000_000_004n });
    for (const path of ['dir/b', 'other/c'])
      s.t.equal(await s.disk.get(`upper/${path}`), 'FIRST content', `${path} is in the upper`);
  },
);

await onUnion(t, 'a name renamed, and one renamed over another', link, async (s) => {
  await layLinks(s);
  await s.mount();
  await s.mnt.rename('a', 'dir/moved');
  dropCaches();
  await overwrite(s.mnt, 'dir/b', 'SECND');
  s.t.equal(await s.mnt.get('dir/moved'), 'SECND content');
  s.t.equal(await s.mnt.get('other/c'), 'SECND content');
  s.t.equal((await s.mnt.lstat('dir/moved')).nlink, 3);
  // rename(2): two names of one file stay both.
  await s.mnt.rename('dir/moved', 'dir/b');
  s.t.same(await s.mnt.names('dir'), ['b', 'moved', 'near']);
  await s.mnt.rename('other/near', 'other/c');
  s.t.equal((await s.mnt.lstat('dir/b')).nlink, 2);
  s.t.equal(await s.mnt.get('other/c'), 'x');
  await s.remount();
  s.t.equal(await s.mnt.get('dir/b'), 'SECND content');
  s.t.equal(await s.mnt.get('dir/moved'), 'SECND content');
  s.t.equal(await s.mnt.get('other/c'), 'x');
});

await onUnion(
  t,
  'symbolic links, fifos and devices with several names',
  { needsRoot: true },
  async (s) => {
    await s.disk.symlink('target', 'lower1/link');
    await s.disk.mknod('lower1/fifo', 0o010644);
    await s.disk.mknod('lower1/device', 0o020644, 1, 3);
    for (const name of ['link', 'fifo', 'device'])
      await s.disk.link(`lower1/${name}`, `lower1/${name}2`);
    await s.mount();
    for (const name of ['link', 'fifo', 'device']) {
      await s.mnt.lchown(name, 7, 8);
      dropCaches();
      s.t.match(await s.mnt.lstat(`${name}2`), { uid: 7, gid: 8, nlink: 2 }, name);
      await s.mnt.unlink(name);
      s.t.match(await s.mnt.lstat(`${name}2`), { uid: 7, gid: 8, nlink: 1 }, name);
    }
    await s.remount();
    for (const name of ['link', 'fifo', 'device'])
      s.t.match(await s.mnt.lstat(`${name}2`), { uid: 7, gid: 8, nlink: 1 }, name);
  },
);

type Step =
  | { do: 'write' | 'chmod'; name: number; value: number }
  | { do: 'unlink' | 'look'; name: number }
  | { do: 'rename' | 'link'; name: number; to: number }
  | { do: 'forget' };

const places = [...names, 'new', 'dir/new2'];
const place = fc.nat(places.length - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constantFrom('write' as const, 'chmod' as const),
    name: place,
    value: fc.nat(9),
  }),
  fc.record({ do: fc.constantFrom('unlink' as const, 'look' as const), name: place }),
  fc.record({ do: fc.constantFrom('rename' as const, 'link' as const), name: place, to: place }),
  fc.constant({ do: 'forget' as const }),
);

/** Does the step, and says how it went. */
async function take(actor: Actor, at: Step): Promise<string> {
  const path = (index: number) => places[index] ?? '';
  try {
    switch (at.do) {
      case 'write':
        await overwrite(actor, path(at.name), `written ${at.value}`);
        break;
      case 'chmod':
        await actor.chmod(path(at.name), 0o600 + at.value);
        break;
      case 'unlink':
        await actor.unlink(path(at.name));
        break;
      case 'rename':
        await actor.rename(path(at.name), path(at.to));
        break;
      case 'link':
        await actor.link(path(at.name), path(at.to));
        break;
      case 'look':
        return await told(actor, path(at.name));
      default:
        break;
    }
    return 'done';
  } catch (error) {
    return String(error).replace(/:[^:]*$/, '');
  }
}

async function told(actor: Actor, name: string, counts = true): Promise<string> {
  try {
    const { mode, nlink } = await actor.lstat(name);
    return `${(mode & 0o777).toString(8)} ${counts ? nlink : ''} ${await actor.get(name)}`;
  } catch {
    return 'absent';
  }
}

await t.test('random steps give what the same steps give in a plain directory', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
      await onUnion(t, `${steps.length} steps`, link, async (s) => {
        await layLinks(s);
        await s.disk.mkdir('plain');
        for (const name of ['dir', 'other']) await s.disk.mkdir(`plain/${name}`);
        await s.disk.put('plain/a', 'first content');
        for (const name of ['dir/b', 'other/c']) await s.disk.link('plain/a', `plain/${name}`);
        const plain = await Actor.start({ cwd: `${s.union.base}/plain` });
        await s.mount();
        const trail: string[] = [];
        const compare = async (after: string, counts: boolean) => {
          for (const name of places) {
            const [is, should] = [await told(s.mnt, name, counts), await told(plain, name, counts)];
            if (is !== should)
              throw new Error(
                `${name} after ${after}: '${is}' and not '${should}' (${trail.join('; ')})`,
              );
          }
        };
        for (const at of steps) {
          trail.push(JSON.stringify(at));
          if (at.do === 'forget') dropCaches();
          else {
            const [is, should] = [await take(s.mnt, at), await take(plain, at)];
            if (is !== should) throw new Error(`'${is}' and not '${should}' (${trail.join('; ')})`);
          }
        }
        await compare('all steps', true);
        await s.remount();
        await compare('a remount', false);
        await plain.end();
      });
      if (!t.passing()) throw new Error('see above');
    }),
    { numRuns: 12, endOnFailure: true },
  );
});
