/** A directory that was listed before anything in it was looked up goes on to show what is done to it (packed-listing.ts). */
import t from 'tap';
import { succeed } from '../support/command.js';
import { onUnion } from './with-union.js';

await onUnion(t, 'directories that come and go after the first listing', { layers: 2 }, async (s) => {
  for (const [layer, names] of [
    ['lower1', ['new', 'both']],
    ['lower2', ['both', 'empty', 'gone']],
  ] as const) {
    await s.lay(layer, Object.fromEntries(names.map((name) => [`top/${name}/file`, layer])));
    await s.lay(layer, { [`top/plain-${layer}`]: layer });
  }
  await s.mount();
  const shell = (line: string): Promise<string> => succeed(['sh', '-c', line], { cwd: s.union.mnt });
  const listed = async (): Promise<string[]> => (await shell('find top | sort')).trim().split('\n');

  const first = ['top', ...['both', 'empty', 'gone', 'new'].flatMap((name) => [`top/${name}`, `top/${name}/file`])];
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
});
