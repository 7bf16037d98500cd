/**
 * Ways out of a container (attempts.c), tried as whoever runs one, with things of the host that are
 * the test's own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';
import { run, succeed, type Outcome } from '../../support/command.js';
import { root } from '../../support/root.js';

/** What became of each attempt: `reached`, or the name of the error that refused it. */
export type Outcomes = ReadonlyMap<string, string>;

/** Compiled into `directory`: static, so that it runs in any image. Returns its path. */
export async function compileAttempts(directory: string): Promise<string> {
  const program = join(directory, 'attempts');
  await succeed([
    'cc',
    '-O1',
    '-Wall',
    '-static',
    '-o',
    program,
    join(root, 'test/suites/escapes/attempts.c'),
  ]);
  return program;
}

export interface HostThings {
  /** The arguments of the program. */
  readonly words: readonly string[];
  /** What the key of the host holds. */
  keyValue(): Promise<string>;
}

/**
 * A process, a key, and a socket of the host, until the test ends. `prefix`: words that run a
 * program as whose they are.
 */
export async function hostThings(
  t: Test,
  program: string,
  prefix: readonly string[],
): Promise<HostThings> {
  const name = `plyfs-test-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const [word, ...words] = [...prefix, 'sleep', '600'];
  const bystander = spawn(word, words, { stdio: 'ignore' });
  await once(bystander, 'spawn');
  const server = createServer((socket) => socket.destroy());
  server.listen(`\0${name}`);
  await once(server, 'listening');
  const serial = (await succeed([...prefix, program, 'key', name])).trim();
  t.teardown(async () => {
    bystander.kill('SIGKILL');
    server.close();
    await run([...prefix, program, 'unlink', serial]);
  });
  return {
    words: [String(bystander.pid), name, serial, name, '7:0'],
    keyValue: async () => (await succeed([...prefix, program, 'value', serial])).trim(),
  };
}

/** What the program printed. Throws unless it came to its end. */
export function outcomesOf({ status, stdout, stderr }: Outcome): Outcomes {
  if (status !== 0)
    throw new Error(`the attempts ended with ${status ?? 'a signal'}: ${stdout}${stderr}`);
  return new Map(
    stdout
      .trim()
      .split(/\r?\n/)
      .map((line) => line.split(': ', 2) as [string, string]),
  );
}

export function reached(outcomes: Outcomes): string[] {
  return [...outcomes].filter(([, outcome]) => outcome === 'reached').map(([name]) => name);
}

/**
 * The same as root of the machine, outside of a container, in namespaces of mounts and names:
 * whether an attempt is one. Its /tmp and /dev are empty ones, and it has no terminal.
 */
export async function outcomesOutside(
  program: string,
  words: readonly string[],
): Promise<Outcomes> {
  const script = `
    exec 9<"$0"
    mount -t tmpfs none /tmp; mount -t tmpfs none /dev; mkdir /dev/shm
    cat <&9 >/tmp/attempts; exec 9<&-; chmod 755 /tmp/attempts
    exec setsid /tmp/attempts "$@"`;
  return outcomesOf(
    await run([
      'unshare',
      '--mount',
      '--uts',
      '--ipc',
      '--propagation',
      'private',
      'sh',
      '-euc',
      script,
      program,
      ...words,
    ]),
  );
}

/** A row an attempt, a column a place. */
export function table(columns: Readonly<Record<string, Outcomes>>): string[] {
  const names = Object.keys(columns);
  const row = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => cell.padEnd(index === 0 ? 24 : 14))
      .join(' ')
      .trimEnd();
  const [first] = Object.values(columns);
  return [
    row(['', ...names]),
    ...[...first!.keys()].map((name) =>
      row([name, ...names.map((column) => columns[column]!.get(name) ?? '-')]),
    ),
  ];
}
