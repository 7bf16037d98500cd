/** flock(2), and fcntl(2) record locks between processes. */
import {
  F_GETLK,
  F_OFD_GETLK,
  F_OFD_SETLK,
  F_RDLCK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  LOCK_UN,
  O_RDONLY,
  O_RDWR,
} from '../constants.js';
import type { PosixCases } from '../posix-suite.js';

export const lockCases: PosixCases = {
  'flock: one exclusive or many shared': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const other = await s.start();
    const [a, b] = [await s.actor.open('old', O_RDWR), await other.open('old', O_RDWR)];
    await s.actor.flock(a, LOCK_EX);
    await s.fails('EAGAIN', other.flock(b, LOCK_EX | LOCK_NB));
    await s.fails('EAGAIN', other.flock(b, LOCK_SH | LOCK_NB));
    await s.actor.flock(a, LOCK_SH);
    await other.flock(b, LOCK_SH | LOCK_NB);
    await s.fails('EAGAIN', s.actor.flock(a, LOCK_EX | LOCK_NB));
    await other.flock(b, LOCK_UN);
    await s.actor.flock(a, LOCK_EX | LOCK_NB);
  },

  'flock: closing the last descriptor gives the lock up': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const a = await s.actor.open('old');
    const copy = await s.actor.dup(a);
    await s.actor.flock(a, LOCK_EX);
    const b = await s.actor.open('old');
    await s.actor.close(a);
    await s.fails('EAGAIN', s.actor.flock(b, LOCK_EX | LOCK_NB));
    await s.actor.close(copy);
    await s.actor.flock(b, LOCK_EX | LOCK_NB);
    s.t.pass();
  },

  'flock: a waiter gets the lock when it is free': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const other = await s.start();
    const [a, b] = [await s.actor.open('old'), await other.open('old')];
    await s.actor.flock(a, LOCK_EX);
    const waiting = other.flock(b, LOCK_EX);
    await s.actor.flock(a, LOCK_UN);
    s.t.equal(await waiting, 0);
  },

  'flock holds across the first write to the file': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const other = await s.start();
    const a = await s.actor.open('old', O_RDONLY);
    await s.actor.flock(a, LOCK_EX);
    const b = await other.open('old', O_RDWR);
    await other.write(b, 'changed');
    await s.fails('EAGAIN', other.flock(b, LOCK_EX | LOCK_NB));
  },

  'fcntl: write locks exclude by range, read locks share': async (s) => {
    await s.actor.put('old', 'x'.repeat(100));
    await s.settle();
    const other = await s.start();
    const [a, b] = [await s.actor.open('old', O_RDWR), await other.open('old', O_RDWR)];
    await s.actor.lock(a, F_SETLK, F_WRLCK, 0, 50);
    await s.fails('EAGAIN', other.lock(b, F_SETLK, F_WRLCK, 40, 20));
    await s.fails('EAGAIN', other.lock(b, F_SETLK, F_RDLCK, 0, 1));
    await other.lock(b, F_SETLK, F_WRLCK, 50, 50);
    s.t.equal(
      await other.lock(b, F_GETLK, F_WRLCK, 0, 10),
      F_WRLCK,
      'GETLK tells the lock in the way',
    );
    await s.actor.lock(a, F_SETLK, F_RDLCK, 0, 50);
    await other.lock(b, F_SETLK, F_RDLCK, 0, 50);
    await s.actor.lock(a, F_SETLK, F_UNLCK);
    s.t.equal(await other.lock(b, F_GETLK, F_WRLCK, 0, 10), F_UNLCK);
  },

  "fcntl: closing any descriptor of the file gives the process's locks up": async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const other = await s.start();
    const [a, b] = [await s.actor.open('old', O_RDWR), await other.open('old', O_RDWR)];
    const second = await s.actor.open('old', O_RDWR);
    await s.actor.lock(a, F_SETLK, F_WRLCK);
    await s.fails('EAGAIN', other.lock(b, F_SETLK, F_WRLCK));
    await s.actor.close(second);
    await other.lock(b, F_SETLK, F_WRLCK);
    s.t.pass();
  },

  'fcntl: a waiter gets the lock when its holder ends': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const [holder, waiter] = [await s.start(), await s.start()];
    await holder.lock(await holder.open('old', O_RDWR), F_SETLK, F_WRLCK);
    const fd = await waiter.open('old', O_RDWR);
    const waiting = waiter.lock(fd, F_SETLKW, F_WRLCK);
    await holder.kill();
    s.t.equal(await waiting, F_WRLCK);
  },

  'fcntl: two waiting for each other is EDEADLK': async (s) => {
    await s.actor.put('old', 'xx');
    await s.settle();
    const other = await s.start();
    const [a, b] = [await s.actor.open('old', O_RDWR), await other.open('old', O_RDWR)];
    await s.actor.lock(a, F_SETLK, F_WRLCK, 0, 1);
    await other.lock(b, F_SETLK, F_WRLCK, 1, 1);
    const outcomes = [
      s.actor.lock(a, F_SETLKW, F_WRLCK, 1, 1),
      other.lock(b, F_SETLKW, F_WRLCK, 0, 1),
    ];
    const first = await Promise.race(
      outcomes.map((call, who) =>
        call.then(
          () => 'got it',
          (error: unknown) => `${who} ${String(error)}`,
        ),
      ),
    );
    s.t.match(first, /EDEADLK/);
    const loser = first.startsWith('0') ? s.actor : other;
    await loser.lock(loser === s.actor ? a : b, F_SETLK, F_UNLCK);
    await Promise.allSettled(outcomes);
  },

  'flock: a directory can be locked; an operation that is none is EINVAL': async (s) => {
    await s.actor.mkdir('dir');
    await s.settle();
    const other = await s.start();
    const [a, b] = [await s.actor.open('dir'), await other.open('dir')];
    await s.actor.flock(a, LOCK_EX);
    await s.fails('EAGAIN', other.flock(b, LOCK_SH | LOCK_NB));
    await s.fails('EINVAL', s.actor.flock(a, 0));
    await s.actor.put('dir/new', 'x');
    await s.actor.flock(a, LOCK_UN);
    s.t.equal(await other.flock(b, LOCK_SH | LOCK_NB), 0);
  },

  'locks hold when the file is renamed, and when its name is gone': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const other = await s.start();
    const [a, b] = [await s.actor.open('old', O_RDWR), await other.open('old', O_RDWR)];
    await s.actor.flock(a, LOCK_EX);
    await s.actor.lock(a, F_SETLK, F_WRLCK);
    await s.actor.write(a, 'changed');
    await s.actor.rename('old', 'new');
    for (const what of ['renamed', 'unlinked']) {
      if (what === 'unlinked') await s.actor.unlink('new');
      await s.fails('EAGAIN', other.flock(b, LOCK_EX | LOCK_NB), what);
      await s.fails('EAGAIN', other.lock(b, F_SETLK, F_WRLCK), what);
    }
    await s.actor.close(a);
    await other.flock(b, LOCK_EX | LOCK_NB);
    await other.lock(b, F_SETLK, F_WRLCK);
  },

  "fcntl: a process's locks never stand in its own way, an open file description's do": async (
    s,
  ) => {
    await s.actor.put('old', 'x'.repeat(10));
    await s.settle();
    const [a, b] = [await s.actor.open('old', O_RDWR), await s.actor.open('old', O_RDWR)];
    await s.actor.lock(a, F_SETLK, F_WRLCK, 0, 5);
    await s.actor.lock(b, F_SETLK, F_WRLCK, 0, 5);
    await s.fails(
      'EAGAIN',
      s.actor.lock(b, F_OFD_SETLK, F_WRLCK, 4, 5),
      'over a lock of the process',
    );
    await s.actor.lock(b, F_OFD_SETLK, F_WRLCK, 5, 5);
    s.t.equal(await s.actor.lock(a, F_OFD_GETLK, F_WRLCK, 5, 1), F_WRLCK);
    s.t.equal(await s.actor.lock(b, F_OFD_GETLK, F_WRLCK, 5, 1), F_UNLCK, 'its own');
    await s.fails('EAGAIN', s.actor.lock(a, F_SETLK, F_RDLCK, 9, 1));
    await s.fails('EINVAL', s.actor.lock(a, F_SETLK, 77), 'a type that there is not');
    await s.fails('EINVAL', s.actor.lock(a, F_SETLK, F_WRLCK, -1, 1), 'before the beginning');
  },

  'open file description locks belong to the description': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const [a, b] = [await s.actor.open('old', O_RDWR), await s.actor.open('old', O_RDWR)];
    await s.actor.lock(a, F_OFD_SETLK, F_WRLCK);
    await s.fails('EAGAIN', s.actor.lock(b, F_OFD_SETLK, F_WRLCK));
    await s.actor.close(a);
    await s.actor.lock(b, F_OFD_SETLK, F_WRLCK);
    s.t.pass();
  },
};
