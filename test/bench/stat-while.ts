/**
 * stat-while DIRECTORY COMMAND...: how long stat(2) takes while a command runs, the 99th percentile
 * in milliseconds.
 *
 * The files of the directory are looked at in turn, so that most are asked of the file system for
 * the first time. One answer that takes as long as the command is a result, too: it is the only one
 * there is.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';

/** Between two, in milliseconds: as many as a shell asks for, not as many as fit. */
const PAUSE = 1;

const [directory = '', program = '', ...words] = process.argv.slice(2);
const paths: string[] = [];
for (const name of readdirSync(directory)) {
  const inner = join(directory, name);
  for (const child of readdirSync(inner)) paths.push(join(inner, child));
}
const nap = new Int32Array(new SharedArrayBuffer(4));
const times: number[] = [];
const command = spawn(program, words, { stdio: ['ignore', 'ignore', 'inherit'] });
let running = true;
const ended = once(command, 'exit').finally(() => (running = false)) as Promise<[number | null]>;
while (running) {
  const path = paths[times.length % paths.length];
  if (path === undefined) throw new Error(`${directory} holds nothing`);
  const started = performance.now();
  // Names that no other look at the directory brought: what is there, and what is not.
  lstatSync(join(path, times.length % 2 === 0 ? 'f0' : `absent${times.length}`), {
    throwIfNoEntry: false,
  });
  times.push(performance.now() - started);
  Atomics.wait(nap, 0, 0, PAUSE);
  await setImmediate();
}
const [status] = await ended;
if (status !== 0) {
  process.exitCode = 1;
} else {
  times.sort((a, b) => a - b);
  process.stdout.write(`${times[Math.min(times.length - 1, Math.floor(times.length * 0.99))]}\n`);
}
