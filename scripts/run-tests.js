// run-tests RESULT.tap JOBS FILE...: runs compiled tests, JOBS of them at once, prints each as it
// ends, and keeps their TAP in RESULT.tap.
//
// ONLY in the environment: a regular expression over the paths of their sources, such as
// test/image/reference.test.ts.
//
// A test is a program of its own, run by plain Node. `tap run` would load a TypeScript compiler, a
// mocker and a recorder into each of them, and the recorder into each program that a test starts as
// well: that costs more than most tests do.
//
// What a file may take, and what it cannot run beside, is in test-files.js.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { Parser } from 'tap-parser';
import { boundOf, excludes, keepTimes, sourceOf } from './test-files.js';

/** Milliseconds until a test that has not set its own limit (`t.setTimeout`) is ended. */
const LIMIT = 120_000;
/** Milliseconds for a test past its limit to say what it waits for, before it is killed. */
const GRACE = 15_000;
/** Milliseconds for what a test has left running to close the output that it inherited. */
const LEFTOVERS = 5_000;

const [result, jobs, ...all] = process.argv.slice(2);
const only = process.env.ONLY ?? '';
const files = all
  .filter((file) => new RegExp(only).test(sourceOf(file)))
  // The longest first: nothing is left to run beside the last one otherwise.
  .sort((a, b) => boundOf(b) - boundOf(a));
if (files.length === 0 && only !== '') {
  console.error(`No test's path matches ${JSON.stringify(only)}.`);
  process.exit(1);
}

mkdirSync(dirname(result), { recursive: true });
rmSync(result, { force: true });
const tap = openSync(result, 'wx');
const running = new Map();
const started = performance.now();

process.on('SIGINT', () => stop(130));
process.on('SIGTERM', () => stop(143));

writeSync(tap, 'TAP version 14\n');
const times = {};
let number = 0;
await new Promise((resolve) => {
  const next = () => {
    while (running.size < Number(jobs)) {
      const at = files.findIndex((file) => ![...running.keys()].some((one) => excludes(one, file)));
      if (at < 0) break;
      const [file] = files.splice(at, 1);
      const child = run(file);
      running.set(file, child);
      void child.ended.then((outcome) => {
        running.delete(file);
        report(file, outcome);
        next();
      });
    }
    if (running.size === 0) resolve();
  };
  next();
});
writeSync(tap, `1..${number}\n`);
closeSync(tap);
keepTimes(times);

console.log(`\n${number} files in ${seconds(performance.now() - started)}; ${processorTime()}`);

/**
 * Starts a test. `ended` resolves with its output and, unless all went well, how it ended. The
 * channel and its key are @tapjs/core's (spawn.js): a test tells by it what limit it has set.
 */
function run(file) {
  const from = performance.now();
  const key = randomUUID();
  const child = spawn(process.execPath, [file], {
    // A group of its own, so that one that hangs is ended with all that it started.
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    env: {
      ...process.env,
      TAP: '1',
      TAP_BAIL: '0',
      TAP_TIMEOUT: String(LIMIT / 1000),
      TAP_CHILD_ID: '1',
      TAP_CHILD_KEY: key,
    },
  });
  const chunks = [];
  child.stdout.on('data', (chunk) => chunks.push(chunk));

  let how;
  let timer;
  const limit = (ms) => {
    clearTimeout(timer);
    // The test's own clock comes first, and says what is not over.
    timer = setTimeout(() => {
      how = `had not ended after ${seconds(ms)}`;
      child.kill('SIGALRM');
      timer = setTimeout(() => kill(child, 'SIGKILL'), GRACE);
    }, ms + GRACE);
  };
  limit(LIMIT);
  child.on('message', (message) => {
    if (message?.key === key && message.setTimeout !== undefined) limit(message.setTimeout);
  });

  const ended = new Promise((resolve) => {
    child.on('exit', () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        kill(child, 'SIGKILL');
        child.stdout.destroy();
      }, LEFTOVERS);
    });
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      const output = Buffer.concat(chunks).toString();
      if (signal !== null) how ??= `was ended by ${signal}`;
      else if (status !== 0) how ??= `exit status ${status}`;
      const parser = new Parser();
      parser.on('complete', (results) => {
        if (!results.ok) how ??= 'ended with failures, or before its plan';
      });
      parser.end(output);
      if (how !== undefined) kill(child, 'SIGKILL');
      resolve({ how, output, ms: performance.now() - from });
    });
  });
  return { child, ended };
}

/** Writes a test's TAP as a subtest of the whole, and a line of it for who watches. */
function report(file, { how, output, ms }) {
  const source = sourceOf(file);
  times[source] = ms / 1000;
  number++;
  const lines = output.replace(/^TAP version 1\d\n/, '').trimEnd();
  const word = how === undefined ? 'ok' : 'not ok';
  writeSync(tap, `# Subtest: ${source}\n${lines.replace(/^(?=.)/gm, '    ')}\n`);
  writeSync(tap, `${word} ${number} - ${source} # time=${ms.toFixed(0)}ms\n`);
  if (how !== undefined) writeSync(tap, `  ---\n  process: ${JSON.stringify(how)}\n  ...\n`);
  const bound = boundOf(file);
  const late = ms > bound * 1000 ? `  (more than its ${bound} s)` : '';
  console.log(`${word.padEnd(6)} ${seconds(ms).padStart(8)}  ${source}${late}`);
}

function stop(status) {
  for (const { child } of running.values()) kill(child, 'SIGTERM');
  process.exit(status);
}

function kill(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Gone already.
  }
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** proc_pid_stat(5): of the children that were waited for, in ticks of a hundredth of a second. */
function processorTime() {
  const fields = readFileSync('/proc/self/stat', 'latin1').split(') ')[1].split(' ');
  return `processor ${seconds(Number(fields[13]) * 10)} user, ${seconds(Number(fields[14]) * 10)} system`;
}
