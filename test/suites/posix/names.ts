/** File names: long ones, bytes that are no text, and deep paths. */
import { O_DIRECTORY, O_RDONLY } from '../constants.js';
import type { PosixCases } from '../posix-suite.js';

const odd: readonly Buffer[] = [
  Buffer.from('new\nline'),
  Buffer.from(' leading and trailing '),
  Buffer.from('-rf'),
  Buffer.from('*?[a]\\"\''),
  Buffer.from([0xff, 0xfe, 0x80]),
  Buffer.from([0xc3, 0x28]),
  Buffer.from('\u00e9\u{1F4A9}'),
  Buffer.from('e\u0301'),
  Buffer.from([1, 2, 3, 127]),
  Buffer.from('...'),
];

export const nameCases: PosixCases = {
  'a name of 255 bytes works, one of 256 is ENAMETOOLONG everywhere': async (s) => {
    const [long, tooLong] = ['n'.repeat(255), 'n'.repeat(256)];
    await s.actor.put('old', 'x');
    await s.actor.put(long, 'long');
    await s.settle();
    s.t.equal(await s.actor.get(long), 'long');
    await s.actor.rename(long, 'm'.repeat(255));
    await s.actor.mkdir('d'.repeat(255));
    await s.actor.put(`${'d'.repeat(255)}/${'f'.repeat(255)}`, 'deep');
    s.t.equal((await s.actor.names()).length, 3);
    const calls: Record<string, () => Promise<unknown>> = {
      stat: () => s.actor.stat(tooLong),
      create: () => s.actor.open(tooLong, 0o101),
      open: () => s.actor.open(tooLong),
      mkdir: () => s.actor.mkdir(tooLong),
      rmdir: () => s.actor.rmdir(tooLong),
      unlink: () => s.actor.unlink(tooLong),
      symlink: () => s.actor.symlink('x', tooLong),
      mknod: () => s.actor.mknod(tooLong, 0o010600),
      'link to': () => s.actor.link('old', tooLong),
      'link of': () => s.actor.link(tooLong, 'new'),
      'rename to': () => s.actor.rename('old', tooLong),
      'rename of': () => s.actor.rename(tooLong, 'new'),
      chmod: () => s.actor.chmod(tooLong, 0o600),
      truncate: () => s.actor.truncate(tooLong, 0),
      'path through': () => s.actor.stat(`${tooLong}/x`),
    };
    for (const [what, call] of Object.entries(calls)) await s.fails('ENAMETOOLONG', call(), what);
  },

  'names are bytes: newlines, controls, not UTF-8, two spellings of é': async (s) => {
    for (const [i, name] of odd.entries()) await s.actor.put(name, `old ${i}`);
    await s.settle();
    s.t.same(await s.actor.names(), odd.map((name) => name.toString('latin1')).sort());
    for (const [i, name] of odd.entries()) {
      s.t.equal(await s.actor.get(name), `old ${i}`);
      const made = Buffer.concat([name, Buffer.from('2')]);
      await s.actor.put(made, `new ${i}`);
      await s.actor.rename(name, Buffer.concat([name, Buffer.from('3')]));
      await s.fails('ENOENT', s.actor.stat(name));
      await s.actor.unlink(made);
    }
    s.t.equal((await s.actor.names()).length, odd.length);
  },

  'case counts': async (s) => {
    await s.actor.put('name', 'lower');
    await s.settle();
    await s.fails('ENOENT', s.actor.stat('NAME'));
    await s.actor.put('NAME', 'upper');
    s.t.equal(await s.actor.get('name'), 'lower');
  },

  'a path of 4,095 bytes works, one of 4,096 is ENAMETOOLONG': async (s) => {
    const parts = Array.from({ length: 2047 }, () => 'd');
    for (let depth = 0; depth < parts.length; depth += 500) {
      const inside = await s.start({ cwd: s.dir });
      for (let i = 0; i < depth; i += 500) await inside.chdir(parts.slice(0, 500).join('/'));
      for (let i = depth; i < Math.min(depth + 500, parts.length); i++) {
        await inside.mkdir('d');
        await inside.chdir('d');
      }
      await inside.end();
    }
    await s.settle();
    const path = parts.join('/');
    s.t.equal(path.length, 4093);
    await s.actor.put(`${path}/f`, 'at the bottom');
    s.t.equal(await s.actor.get(`${path}/f`), 'at the bottom');
    await s.fails('ENAMETOOLONG', s.actor.stat(`${path}//f`));
    await s.actor.unlink(`${path}/f`);
  },

  'relative to a deep directory, paths reach deeper than PATH_MAX': async (s) => {
    const level = 'x'.repeat(250);
    for (let i = 0; i < 20; i++) {
      await s.actor.mkdir(level);
      await s.actor.chdir(level);
    }
    await s.actor.put('old', 'deep');
    await s.settle();
    for (let i = 0; i < 20; i++) await s.actor.chdir(level);
    s.t.equal(await s.actor.get('old'), 'deep');
    await s.actor.put('old', 'changed');
    await s.actor.mkdir('new');
    await s.actor.rename('old', 'new/moved');
    s.t.equal(await s.actor.get('new/moved'), 'changed');
    for (let i = 0; i < 15; i++) {
      await s.actor.mkdir(level);
      await s.actor.chdir(level);
    }
    const fd = await s.actor.open('.', O_RDONLY | O_DIRECTORY);
    for (let i = 0; i < 15; i++) await s.actor.chdir('..');
    s.t.same(await s.actor.names(), ['new', level]);
    await s.actor.fchdir(fd);
    await s.actor.put('bottom', 'x');
    s.t.equal(
      await s.actor.get(`${Array.from({ length: 15 }, () => '..').join('/')}/new/moved`),
      'changed',
    );
  },
};
