/** Several at once on one name: what must be atomic. */
import { E, Errno } from '../../../src/base/errno.js';
import type { Actor } from '../actor.js';
import { O_CREAT, O_EXCL, O_WRONLY, RENAME_EXCHANGE, RENAME_NOREPLACE } from '../constants.js';
import type { PosixCases, Scene } from '../posix-suite.js';

async function several(s: Scene, count: number): Promise<Actor[]> {
  return Promise.all(Array.from({ length: count }, () => s.start()));
}

/** How many of the calls succeeded; those that did not must have failed with `expected`. */
async function winners(
  s: Scene,
  expected: number,
  calls: readonly Promise<unknown>[],
): Promise<number> {
  let won = 0;
  for (const outcome of await Promise.allSettled(calls)) {
    if (outcome.status === 'fulfilled') won++;
    else if (!(outcome.reason instanceof Errno) || outcome.reason.errno !== expected)
      s.t.fail(String(outcome.reason));
  }
  return won;
}

export const raceCases: PosixCases = {
  'of several who make one name, one succeeds': async (s) => {
    for (let i = 0; i < 40; i++) await s.actor.put(`from${i}`, 'x');
    await s.settle();
    const actors = await several(s, 3);
    const ways: Record<
      string,
      (actor: Actor, name: string, who: number, round: number) => Promise<unknown>
    > = {
      open: (a, name) => a.open(name, O_CREAT | O_EXCL | O_WRONLY),
      mkdir: (a, name) => a.mkdir(name),
      symlink: (a, name) => a.symlink('x', name),
      link: (a, name, who, round) => a.link(`from${round * 3 + who}`, name),
      rename: (a, name, who, round) => a.rename(`from${round * 3 + who}`, name, RENAME_NOREPLACE),
    };
    for (const [what, way] of Object.entries(ways)) {
      for (let round = 0; round < 10; round++) {
        const name = `${what}${round}`;
        const won = await winners(
          s,
          E.EEXIST,
          actors.map((actor, who) => way(actor, name, who, round)),
        );
        if (won !== 1) s.t.fail(`${won} made ${name}`);
      }
      s.t.pass(what);
    }
  },

  'of several who remove one name, one succeeds': async (s) => {
    for (let i = 0; i < 20; i++) {
      await s.actor.put(`file${i}`, 'x');
      await s.actor.mkdir(`dir${i}`);
    }
    await s.settle();
    const actors = await several(s, 3);
    for (let i = 0; i < 20; i++) {
      s.t.equal(
        await winners(
          s,
          E.ENOENT,
          actors.map((actor, who) =>
            who === 0 && i % 2 === 0
              ? actor.rename(`file${i}`, `away${i}`)
              : actor.unlink(`file${i}`),
          ),
        ),
        1,
        `file${i}`,
      );
      s.t.equal(
        await winners(
          s,
          E.ENOENT,
          actors.map((actor) => actor.rmdir(`dir${i}`)),
        ),
        1,
        `dir${i}`,
      );
    }
  },

  'a name replaced again and again is always there, and whole': async (s) => {
    await s.actor.put('name', 'version'.repeat(1000));
    await s.settle();
    const [writer, reader] = (await several(s, 2)) as [Actor, Actor];
    const state = { done: false };
    const replacing = (async () => {
      for (let i = 0; i < 60; i++) {
        await writer.put('new', 'version'.repeat(1000 + i));
        await writer.rename('new', 'name');
      }
      state.done = true;
    })();
    let seen = 0;
    while (!state.done) {
      const content = await reader.get('name');
      if (
        content.length < 7000 ||
        content.length % 7 !== 0 ||
        content.replaceAll('version', '') !== ''
      ) {
        s.t.fail(`${content.length} bytes`);
      }
      seen++;
    }
    await replacing;
    s.t.ok(seen > 0, 'read meanwhile');
    s.t.equal((await s.actor.get('name')).length, 7 * 1059);
    s.t.same(await s.actor.names(), ['name']);
  },

  'two who exchange two names back and forth lose neither': async (s) => {
    await s.actor.put('a', 'A');
    await s.actor.put('b', 'B');
    await s.settle();
    const actors = await several(s, 2);
    await Promise.all(
      actors.map(async (actor) => {
        for (let i = 0; i < 50; i++) await actor.rename('a', 'b', RENAME_EXCHANGE);
      }),
    );
    // A hundred exchanges: each is back where it was.
    s.t.same([await s.actor.get('a'), await s.actor.get('b')], ['A', 'B']);
    s.t.same(await s.actor.names(), ['a', 'b']);
  },

  'what one writes and the other cuts is either, never a mixture of sizes': async (s) => {
    await s.actor.put('old', 'x'.repeat(5000));
    await s.settle();
    const [writer, cutter] = (await several(s, 2)) as [Actor, Actor];
    const fd = await writer.open('old', O_WRONLY);
    await Promise.all([
      (async () => {
        for (let i = 0; i < 50; i++) await writer.write(fd, 'y'.repeat(5000), 0);
      })(),
      (async () => {
        for (let i = 0; i < 50; i++) await cutter.truncate('old', 100);
      })(),
    ]);
    const content = await s.actor.get('old');
    s.t.ok(content.length === 5000 || content.length === 100, `${content.length} bytes`);
    s.t.equal(content.replaceAll('y', ''), '');
  },
};
