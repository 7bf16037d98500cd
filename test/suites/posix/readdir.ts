/** Listing directories, alone and while others change them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { DT, O_DIRECTORY, O_RDONLY, SEEK_SET } from '../constants.js';
import type { Actor, Entry } from '../actor.js';
import type { PosixCases } from '../posix-suite.js';
import { makeEveryType } from './types.js';

const run = promisify(execFile);

async function makeFiles(actor: Actor, dir: string, count: number): Promise<string[]> {
  await actor.mkdir(dir);
  const names = Array.from({ length: count }, (_, i) => `entry-${i.toString().padStart(6, '0')}`);
  for (let i = 0; i < count; i += 500) {
    await Promise.all(
      names.slice(i, i + 500).map((name) => actor.mknod(`${dir}/${name}`, 0o100644)),
    );
  }
  return names;
}

const shown = (entries: readonly Entry[]) =>
  entries.map((entry) => entry.name).filter((name) => name !== '.' && name !== '..');

async function rest(actor: Actor, fd: number, size = 2048): Promise<Entry[]> {
  const found: Entry[] = [];
  for (;;) {
    const some = await actor.getdents(fd, size);
    if (some.length === 0) return found;
    found.push(...some);
  }
}

export const readdirCases: PosixCases = {
  'an entry tells the inode number and type that stat tells, . and .. included': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    const types: Record<string, number> = {
      file: DT.file,
      dir: DT.dir,
      link: DT.link,
      dangling: DT.link,
      fifo: DT.fifo,
      socket: DT.socket,
    };
    for (const [dir, parent] of [
      ['.', undefined],
      ['dir', '.'],
    ] as const) {
      const entries = await s.actor.list(dir);
      for (const entry of entries) {
        if (entry.name === '..') continue;
        s.t.equal(
          entry.ino,
          (await s.actor.lstat(`${dir}/${entry.name}`)).ino,
          `d_ino of ${dir}/${entry.name}`,
        );
        if (entry.name in types && dir === '.')
          s.t.equal(entry.type, types[entry.name], `d_type of ${entry.name}`);
      }
      s.t.same(
        entries
          .filter((entry) => entry.name === '.' || entry.name === '..')
          .map((entry) => entry.type),
        [DT.dir, DT.dir],
      );
      if (parent)
        s.t.equal(
          entries.find((entry) => entry.name === '..')?.ino,
          (await s.actor.lstat(parent)).ino,
          'd_ino of ..',
        );
    }
  },

  'd_ino stays right after files were changed': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.put('file', 'changed');
    await s.actor.chmod('dir', 0o711);
    await s.actor.utimens('link', [1, 1], [1, 1]);
    for (const entry of await s.actor.list('.')) {
      if (entry.name === '..') continue;
      s.t.equal(entry.ino, (await s.actor.lstat(entry.name)).ino, entry.name);
    }
  },

  'a listing with small buffers shows each name once': async (s) => {
    const names = await makeFiles(s.actor, 'many', 1000);
    await s.settle();
    for (const size of [128, 512, 4096, 65536]) {
      const fd = await s.actor.open('many', O_RDONLY | O_DIRECTORY);
      s.t.same(shown(await rest(s.actor, fd, size)).sort(), names, `${size} bytes`);
      await s.actor.close(fd);
    }
    await s.fails(
      'EINVAL',
      s.actor.getdents(await s.actor.open('many'), 16),
      'a buffer too small for one entry',
    );
    await s.fails('ENOTDIR', s.actor.getdents(await s.actor.open('many/entry-000000'), 1024));
  },

  'rewinding sees what was added and removed; a cookie continues where it was': async (s) => {
    const names = await makeFiles(s.actor, 'many', 200);
    await s.settle();
    const fd = await s.actor.open('many', O_RDONLY | O_DIRECTORY);
    const first = await s.actor.getdents(fd, 1024);
    const cookie = first.at(-1)?.offset ?? 0n;
    const after = shown(await rest(s.actor, fd));
    await s.actor.lseek(fd, cookie, SEEK_SET);
    s.t.same(shown(await rest(s.actor, fd)), after, 'the same from the same cookie');
    await s.actor.put('many/new', 'x');
    await s.actor.unlink('many/entry-000007');
    await s.actor.lseek(fd, 0, SEEK_SET);
    s.t.same(
      shown(await rest(s.actor, fd)).sort(),
      [...names.filter((name) => name !== 'entry-000007'), 'new'].sort(),
    );
  },

  'listing while deleting what was listed sees every entry exactly once': async (s) => {
    const names = await makeFiles(s.actor, 'many', 2000);
    await s.settle();
    const fd = await s.actor.open('many', O_RDONLY | O_DIRECTORY);
    const seen: string[] = [];
    for (;;) {
      const some = await s.actor.getdents(fd, 1024);
      if (some.length === 0) break;
      seen.push(...shown(some));
      await Promise.all(shown(some).map((name) => s.actor.unlink(`many/${name}`)));
    }
    s.t.equal(seen.length, 2000);
    s.t.same(seen.sort(), names);
    await s.actor.rmdir('many');
  },

  'entries that stay are seen exactly once while others come and go': async (s) => {
    const names = await makeFiles(s.actor, 'many', 1000);
    await s.settle();
    const other = await s.start();
    const fd = await s.actor.open('many', O_RDONLY | O_DIRECTORY);
    const stay = names.filter((_, i) => i % 2 === 0);
    const go = names.filter((_, i) => i % 2 === 1);
    const seen: string[] = [];
    for (let step = 0; ; step++) {
      const some = await s.actor.getdents(fd, 1024);
      if (some.length === 0) break;
      seen.push(...shown(some));
      await Promise.all(
        go.slice(step * 20, step * 20 + 20).map((name) => other.unlink(`many/${name}`)),
      );
      if (step >= 20) continue;
      await other.put(`many/added-${step}`, 'x');
      await other.rename(`many/added-${step}`, `many/moved-${step}`);
    }
    s.t.same(seen.filter((name) => stay.includes(name)).sort(), stay);
    s.t.equal(new Set(seen).size, seen.length, 'nothing is seen twice');
  },

  'a listing ends although every step of it renames an entry': async (s) => {
    await makeFiles(s.actor, 'many', 200);
    await s.settle();
    const fd = await s.actor.open('many', O_RDONLY | O_DIRECTORY);
    // About 40 calls list 200 entries; a listing that shows each new name again goes on for ever
    // (tmpfs once did).
    let steps = 0;
    let last = 'entry-000000';
    for (; steps < 500; steps++) {
      if ((await s.actor.getdents(fd, 256)).length === 0) break;
      await s.actor.rename(`many/${last}`, `many/renamed-${steps}`);
      last = `renamed-${steps}`;
    }
    s.t.ok(steps < 500, `${steps} steps`);
  },

  'rm -rf of 2,000 entries removes all': async (s) => {
    await makeFiles(s.actor, 'many', 2000);
    await s.actor.mkdir('many/sub');
    await s.actor.put('many/sub/file', 'x');
    await s.settle();
    await run('rm', ['-rf', `${s.dir}/many`]);
    s.t.same(await s.actor.names(), []);
  },

  'a directory deleted by two at once is gone, with no error but ENOENT': async (s) => {
    await makeFiles(s.actor, 'many', 1000);
    await s.settle();
    const results = await Promise.allSettled([
      run('rm', ['-rf', `${s.dir}/many`]),
      run('rm', ['-rf', `${s.dir}/many`]),
    ]);
    for (const result of results)
      if (result.status === 'rejected') s.t.match(String(result.reason), /not empty|No such file/);
    await run('rm', ['-rf', `${s.dir}/many`]);
    s.t.same(await s.actor.names(), []);
  },

  'a new name is listed at once, a removed one no more': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    const before = await s.actor.names();
    await s.actor.put('new', 'x');
    s.t.same(await s.actor.names(), [...before, 'new'].sort());
    await s.actor.unlink('new');
    await s.actor.unlink('file');
    s.t.same(
      await s.actor.names(),
      before.filter((name) => name !== 'file'),
    );
    await s.actor.put('file', 'again');
    s.t.same(await s.actor.names(), before);
    await s.actor.rename('fifo', 'new');
    s.t.same(await s.actor.names(), [...before.filter((name) => name !== 'fifo'), 'new'].sort());
  },

  'names looked up in vain appear when they are made': async (s) => {
    await s.actor.mkdir('dir');
    await s.settle();
    const other = await s.start();
    for (const name of ['new', 'dir/new']) {
      await s.fails('ENOENT', s.actor.stat(name));
      await other.put(name, 'x');
      s.t.equal(await s.actor.get(name), 'x');
      await other.unlink(name);
      await s.fails('ENOENT', s.actor.stat(name));
    }
    await s.fails('ENOENT', s.actor.stat('new2'));
    await other.rename('dir', 'new2').catch(() => other.mkdir('new2'));
    s.t.ok(await s.actor.stat('new2'));
  },
};
