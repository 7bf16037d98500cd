/**
 * A directory that was listed before anything in it was looked up goes on to show what is done to
 * it (packed-listing.ts).
 */
import t from 'tap';
import { succeed } from '../support/command.js';
import { onUnion } from './with-union.js';

await onUnion(
  t,
  'directories that come and go after the first listing',
  { layers: 2 },
  async (s) => {
    for (const [layer, names] of [
      ['lower1', ['new', 'both']],
      ['lower2', ['both', 'empty', 'gone']],
    ] as const) {
      await s.lay(layer, Object.fromEntries(names.map((name) => [`top/${name}/file`, layer])));
      await s.lay(layer, { [`top/plain-${layer}`]: layer });
    }
    await s.mount();
    const shell = (line: string): Promise<string> =>
      succeed(['sh', '-c', line], { cwd: s.union.mnt });
    const listed = async (): Promise<string[]> =>
      (await shell('find top | sort')).trim().split('\n');

    const first = [
      'top',
      ...['both', 'empty', 'gone', 'new'].flatMap((name) => [`top/${name}`, `top/${name}/file`]),
    ];
    first.push('top/plain-lower1', 'top/plain-lower2');
    s.t.same(await listed(), first.sort());
    await shell('rm top/empty/file && rmdir top/empty && rm -r top/gone');
    const left = first.filter((name) => !/empty|gone/.test(name));
    s.t.same(await listed(), left, 'removed');
    await shell('mkdir top/gone && mv top/gone top/moved && rm -r top/both && mkdir top/both');
    const then = [...left.filter((name) => name !== 'top/both/file'), 'top/moved'].sort();
    s.t.same(await listed(), then, 'made, renamed, and made anew over a whiteout');
    await s.remount();
    s.t.same(await listed(), then, 'after mounting anew');
  },
);

await onUnion(t, 'names looked up before their directory is listed', { layers: 3 }, async (s) => {
  const names = ['changed', 'linked', 'looked-at', 'moved', 'removed', 'replaced'];
  await s.lay('lower1', { 'top/other': 'lower1' });
  await s.lay('lower2', Object.fromEntries(names.map((name) => [`top/${name}`, 'lower2'])));
  await s.lay('lower3', { 'top/moved': 'lower3', 'top/last': 'lower3' });
  await s.mount();
  const shell = (line: string): Promise<string> =>
    succeed(['sh', '-c', line], { cwd: s.union.mnt });
  const inode = async (name: string): Promise<string> =>
    (await shell(`stat -c %i top/${name}`)).trim();
  const listed = async (): Promise<Map<string, string>> =>
    new Map(
      (await shell('ls -i top'))
        .trim()
        .split('\n')
        .map((line) => line.trim().split(' ').reverse() as [string, string]),
    );

  s.t.equal(await shell('cat top/moved'), 'lower2');
  await s.t.rejects(shell('stat top/nowhere'));
  const numbers = new Map<string, string>();
  for (const name of names) numbers.set(name, await inode(name));
  await shell('chmod 600 top/changed && chmod 600 top/linked');
  const first = await listed();
  s.t.same([...first.keys()].sort(), [...names, 'last', 'other'].sort());
  for (const [name, number] of numbers)
    s.t.equal(first.get(name), number, `the listing has the number of ${name}`);

  await shell(
    'rm top/removed && mv top/moved top/away && ln top/linked top/link && rm top/replaced && echo new >top/replaced',
  );
  const then = await listed();
  s.t.same([...then.keys()].sort(), [
    'away',
    'changed',
    'last',
    'link',
    'linked',
    'looked-at',
    'other',
    'replaced',
  ]);
  s.t.equal(then.get('away'), numbers.get('moved'));
  s.t.equal(then.get('link'), numbers.get('linked'));
  await s.remount();
  s.t.same([...(await listed()).keys()].sort(), [...then.keys()].sort(), 'after mounting anew');
});
