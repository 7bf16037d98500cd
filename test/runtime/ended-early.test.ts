/** `ply run` that is asked to end again and again while there is no container yet. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { outcomeOf } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { temporaryDirectory } from '../support/mounts.js';
import { plyOn } from '../support/ply.js';
import { copyProgram } from '../support/users.js';

t.setTimeout(60_000);

t.test('a root that is never shown', async (t) => {
  const directory = await temporaryDirectory(t);
  const dataRoot = join(directory, 'root');
  await plyOn(dataRoot)('import', '-q', await containerImage(directory), 'image:1');
  const program = copyProgram(directory);
  const begun = join(directory, 'begun');
  writeFileSync(join(program, 'bin/plyfs'), `#!/bin/sh\n: >'${begun}'\nexec sleep 1000\n`);
  const child = spawn(
    join(program, 'bin/ply'),
    ['--root', dataRoot, 'run', '--rm', 'image:1', 'true'],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  t.teardown(() => child.kill('SIGKILL'));
  const outcome = outcomeOf(child);
  while (!existsSync(begun)) await delay(5);
  for (let asked = 0; asked < 4; asked++) {
    child.kill('SIGTERM');
    // Two that wait at once would be one (signal(7)).
    while (/^ShdPnd:\s*0*[1-9a-f]/m.test(readFileSync(`/proc/${child.pid!}/status`, 'latin1')))
      await delay(5);
  }
  t.match(await outcome, { status: 125, stdout: '', stderr: /^ply: [^\n]+\n$/ });
  t.equal(await plyOn(dataRoot)('ps', '--quiet'), '', 'and the container is gone');
});
