/**
 * Rows of "where peers are known to fail" that are about a daemon, which the kernel's overlay has
 * not. The others: suites/union/peer-failures.ts.
 */
import t from 'tap';
import { ended, succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { kernel } from '../suites/mounters.js';
import { daemonOf, onUnion } from './with-union.js';

t.setTimeout(120_000);

await onUnion(
  t,
  'the daemon is killed: the mount point answers ENOTCONN, umount and a fresh mount work, the upper is consistent',
  { needsKernel: true },
  async (s) => {
    await s.lay('lower1', {
      changed: 'lower',
      gone: 'lower',
      'dir/inside': 'lower',
      'dir/gone': 'lower',
    });
    await s.mount();
    await s.mnt.put('changed', 'in the upper');
    await s.mnt.unlink('gone');
    await s.mnt.unlink('dir/gone');
    const held = await s.mnt.open('dir/inside');
    const daemon = daemonOf(s);
    // In the middle of work: what was answered counts, what was not may be either.
    const done: string[] = [];
    const writing = (async () => {
      for (let i = 0; ; i++) {
        const name = `dir/new-${i}`;
        await s.mnt.put(name, `content ${i}`);
        done.push(name);
        if (i === 50) process.kill(daemon, 'SIGKILL');
      }
    })();
    await s.t.rejects(writing, 'the writer is told');
    await ended(daemon);
    const outside = await s.start({ cwd: s.union.base });
    // Attributes that the kernel remembers it gives without asking, and ls(1) shows nothing but
    // these.
    await s.fails('ENOTCONN', outside.statvfs('mnt'));
    await s.fails('ENOTCONN', outside.list('mnt'));
    await s.fails('ENOTCONN', outside.put('mnt/new', 'x'));
    await s.fails('ENOTCONN', s.mnt.read(held, 10, 0));
    await s.mnt.end();
    await outside.end();
    await s.t.rejects(
      s.union.mount(),
      /holds a mount whose process is gone: unmount it/,
      'nothing is mounted over the dead mount',
    );
    await succeed(isRoot ? ['umount', s.union.mnt] : ['fusermount3', '-u', s.union.mnt]);

    await s.mount();
    s.t.equal(await s.mnt.get('changed'), 'in the upper');
    await s.fails('ENOENT', s.mnt.lstat('gone'));
    s.t.ok(done.length > 50, `${done.length} files were written before`);
    for (const [i, name] of done.entries())
      if ((await s.mnt.get(name)) !== `content ${i}`) s.t.fail(`${name} lost its content`);
    const ours = await s.shown();
    s.t.notOk([...ours.values()].some((text) => text.startsWith('unreadable')));
    await s.remount(kernel);
    s.same(await s.shown(), ours, 'the kernel shows the same');
  },
);
