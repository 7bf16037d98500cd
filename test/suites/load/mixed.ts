/**
 * Processes that work on one mount at once, each checking what it does; and what they compete for
 * goes to one of them.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { succeed } from '../../support/command.js';
import { kernel, Union, unavailable, type Mounter } from '../mounters.js';
import { lay } from './mixed-layers.js';
import { figure, givesBack } from './watched.js';

const program = fileURLToPath(new URL('mixed-worker.js', import.meta.url));

interface Got {
  readonly made: readonly number[];
  readonly taken: readonly number[];
}

class Worker {
  readonly #child;
  readonly #lines;
  constructor(t: Test, root: string, me: number, rounds: number) {
    this.#child = spawn(process.execPath, [program, root, String(me), String(rounds)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.teardown(() => this.#child.kill('SIGKILL'));
    this.#child.stdin.on('error', () => undefined);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }
  /** Lines up to one that begins with `end`. */
  async until(end: string): Promise<string[]> {
    const lines: string[] = [];
    for (;;) {
      const next = await this.#lines.next();
      if (next.done === true) throw new Error(`a process ended early: ${lines.join('; ')}`);
      lines.push(next.value);
      if (next.value.startsWith(end)) return lines;
    }
  }
  goOn(): void {
    this.#child.stdin.write('.');
  }
}

export async function mixedWork(
  t: Test,
  mounter: Mounter,
  processes: number,
  rounds: number,
): Promise<void> {
  const union = await Union.create(t, mounter, 2);
  const [top = '', bottom = ''] = union.lowers;
  lay(top, bottom, processes, rounds);
  const lowers = () =>
    succeed(['sh', '-c', 'find "$@" -type f -exec sha256sum {} + | sort', 'sh', ...union.lowers]);
  const laid = await lowers();
  await union.mount();
  const numbers = Array.from({ length: processes }, (_, i) => i);
  const workers: Worker[] = [];
  await givesBack(t, mounter, async () => {
    workers.push(...numbers.map((me) => new Worker(t, union.mnt, me, rounds)));
    for (const worker of workers) await worker.until('ready');
    for (const worker of workers) worker.goOn();
    const got: Got[] = [];
    for (const [me, worker] of workers.entries()) {
      const lines = await worker.until('{');
      t.same(lines.slice(0, -1), [], `process ${me} found everything as it had left it`);
      got.push(JSON.parse(lines.at(-1) ?? '{}') as Got);
    }
    const rounded = Array.from({ length: rounds }, (_, i) => i);
    const each = (of: keyof Got) => got.flatMap((one) => one[of]).sort((a, b) => a - b);
    t.same(each('made'), rounded, 'of all who make a directory one makes it');
    t.same(each('taken'), rounded, 'of all who take a file one gets it');
    t.comment(`${got.filter((one) => one.made.length > 0).length} of them were first at something`);
    const log = (await succeed(['sort', `${union.mnt}/shared/log`]))
      .split('\n')
      .filter((line) => line !== '');
    const records = numbers
      .flatMap((me) => rounded.map((i) => `${String(me).padStart(3)} ${String(i).padStart(11)}`))
      .sort();
    t.same(log.sort(), records, 'every record appended is there once and whole');
    const names = (await succeed(['ls', '-A', `${union.mnt}/shared`]))
      .split('\n')
      .filter((name) => name !== '');
    t.equal(names.filter((name) => name.startsWith('taken-')).length, rounds);
    t.notOk(names.some((name) => name.startsWith('token-')));
    figure(
      t,
      mounter,
      `${processes * rounds * 4} changes by ${processes} processes at once on one mount`,
    );
  });
  // By the kernel where it can be: what was written here is an upper of overlayfs.
  await union.remount((await unavailable(t, kernel)) === undefined ? kernel : mounter);
  for (const worker of workers) worker.goOn();
  for (const [me, worker] of workers.entries())
    t.same(await worker.until('looked'), ['looked'], `mounted again, process ${me} found the same`);
  await union.unmount();
  t.equal(await lowers(), laid, 'the lower layers are untouched');
}
