/**
 * A data root in which somebody put something else in the place of a file (suites/hostile-root.ts),
 * or of a directory, and one that somebody holds.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { outcomeOf, says } from '../support/command.js';
import { plyOn, plyProgram } from '../support/ply.js';
import { isRoot } from '../support/users.js';
import { hostileFiles, storeIn } from '../suites/hostile-root.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(600_000);

t.test(
  'something else in the place of each kind of file',
  { skip: !isRoot && 'devices need root' },
  (t) => hostileFiles(t, 'each kind'),
);

t.test(
  'directories of a root are no links, and the root itself may be one',
  { skip: !isRoot && 'layers with their owners need root' },
  async (t) => {
    const base = await workspace(t);
    const root = await storeIn(base);
    symlinkSync(root, join(base, 'link'));
    t.equal(
      await plyOn(join(base, 'link'))('images', '-q', '--format', '{{.Repository}}'),
      'one\ntwo',
    );
    const directories = [
      'plyfs',
      'plyfs/leases',
      'image',
      'image/overlay2/imagedb/content/sha256',
      'image/overlay2/layerdb/tmp',
      'overlay2',
      'overlay2/l',
    ];
    for (const directory of directories) {
      const path = join(root, directory);
      renameSync(path, join(base, 'elsewhere'));
      symlinkSync(join(base, 'elsewhere'), path);
      const before = readdirSync(join(base, 'elsewhere'));
      const { status, stderr } = await plyOn(root).outcome('tag', 'one:1', 'three:1');
      t.equal(status, 1, directory);
      t.match(stderr, new RegExp(`${path}.* symbolic link`));
      t.same(readdirSync(join(base, 'elsewhere')), before, 'nothing was made there');
      rmSync(path);
      renameSync(join(base, 'elsewhere'), path);
    }
  },
);

t.test(
  'TERM ends a command that waits for what does not come',
  { skip: !isRoot && 'layers with their owners need root' },
  async (t) => {
    const base = await workspace(t);
    const root = await storeIn(base);
    const holder = spawn('flock', [join(root, 'plyfs/store.lock'), '-c', 'echo held; cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await says(holder, holder.stdout, 'held');
    for (const [signal, status] of [
      ['SIGTERM', 143],
      ['SIGINT', 130],
    ] as const) {
      const child = spawn(plyProgram, ['--root', root, 'tag', 'one:1', 'three:1'], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const outcome = outcomeOf(child);
      // proc_locks(5): a lock that is waited for.
      while (!new RegExp(`-> FLOCK.* ${child.pid!} `).test(readFileSync('/proc/locks', 'latin1')))
        await turn();
      child.kill(signal);
      t.equal((await outcome).status, status, signal);
    }
    holder.stdin.end();
    await once(holder, 'close');
  },
);
