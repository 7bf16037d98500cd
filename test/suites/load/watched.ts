/**
 * plyfs in the foreground, where it tells on SIGUSR1 how much it holds: so that a load test can say
 * that what was taken is given back once the kernel has forgotten the files.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { mountAt } from '../../support/mounts.js';
import { isRoot } from '../../support/users.js';
import { optionsOf, programUnderTest, type Mounter, type UnionSpec } from '../mounters.js';

export interface Usage {
  readonly nodes: number;
  /** What the program says that it caches. */
  readonly descriptors: number;
  /** What the process has open. */
  readonly open: number;
  /** Requests answered so far. */
  readonly requests: number;
  /** MiB. */
  readonly resident: number;
}

/**
 * MiB by which a daemon may be larger than right after mounting, when all is forgotten: 32 are the
 * two semi-spaces of V8's young generation, which an idle process keeps; the rest is compiled code
 * and what malloc keeps of pages that were freed in between. 130,000 nodes that were not given back
 * take 85.
 */
const KEPT_MEMORY = 56;

/** The last line of what it says. */
const held = /^nodes (\d+), descriptors (\d+)\n/m;

export class WatchedPlyfs implements Mounter {
  readonly name = 'plyfs';
  readonly #t: Test;
  #child: ChildProcess | undefined;
  #said = '';

  constructor(t: Test) {
    this.#t = t;
  }

  async mount(spec: UnionSpec, dir: string): Promise<void> {
    const child = spawn(programUnderTest(), ['-f', '-o', optionsOf(spec), dir], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    this.#said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#said += text));
    this.#t.teardown(() => child.kill('SIGKILL'));
    while (mountAt(dir)?.type !== 'fuse.plyfs') {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`plyfs ended before it mounted: ${this.#said}`);
      await delay(5);
    }
    // A daemon that does not serve yet lets the signal pass.
    while (!held.test(this.#said)) {
      child.kill('SIGUSR1');
      await delay(100);
    }
  }

  /** Also proves that the daemon answers. */
  async usage(): Promise<Usage> {
    const child = this.#child;
    if (child?.stderr == null) throw new Error('nothing is mounted');
    this.#said = '';
    child.kill('SIGUSR1');
    while (!held.test(this.#said))
      await once(child.stderr, 'data', { signal: AbortSignal.timeout(20_000) });
    const [, nodes, descriptors] = held.exec(this.#said) ?? [];
    const requests = [...this.#said.matchAll(/^[A-Z]\w+ +(\d+)/gm)].reduce(
      (sum, [, count]) => sum + Number(count),
      0,
    );
    const status = readFileSync(`/proc/${child.pid}/status`, 'latin1');
    return {
      nodes: Number(nodes),
      descriptors: Number(descriptors),
      open: readdirSync(`/proc/${child.pid}/fd`).length,
      requests,
      resident: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024,
    };
  }
}

/**
 * A line of what was done, for the end of a run: about the mount under test, not about the oracle.
 */
export function figure(t: Test, mounter: Mounter, text: string): void {
  if (mounter.name !== 'kernel') t.comment(`figure: ${text}`);
}

/**
 * Descriptors that come after the first look and stay: the whiteout that others are links of, the
 * device for notifications, and the socket at which the mount answers questions, with the one that
 * libuv keeps in reserve for it.
 */
const KEPT_DESCRIPTORS = 4;

/**
 * Runs `load` on a mount that was just made, then has the kernel forget everything, and asserts
 * that the daemon holds no more nodes and descriptors than before, and about as much memory.
 * Nothing may use the mount any more when `load` is done.
 */
export async function givesBack(
  t: Test,
  mounter: Mounter,
  load: () => Promise<void>,
): Promise<void> {
  if (!(mounter instanceof WatchedPlyfs)) return load();
  const before = await mounter.usage();
  await load();
  const after = await mounter.usage();
  t.ok(
    after.requests > before.requests,
    `the load went through the mount: ${after.requests} requests`,
  );
  if (!isRoot) {
    t.comment('what is given back cannot be seen: an ordinary user cannot have the kernel forget');
    return;
  }
  const until = Date.now() + 60_000;
  let left = after;
  const back = () =>
    left.nodes <= before.nodes &&
    left.open <= before.open + KEPT_DESCRIPTORS &&
    left.resident <= before.resident + KEPT_MEMORY;
  while (!back() && Date.now() < until) {
    // Dentries and inodes without a user (Documentation/admin-guide/sysctl/vm.rst).
    writeFileSync('/proc/sys/vm/drop_caches', '2');
    await delay(200);
    left = await mounter.usage();
  }
  t.ok(
    left.nodes <= before.nodes,
    `nodes fall back: ${before.nodes} before, ${after.nodes} then, ${left.nodes} now`,
  );
  t.ok(
    left.open <= before.open + KEPT_DESCRIPTORS,
    `descriptors fall back: ${before.open} before, ${after.open} then, ${left.open} now`,
  );
  const sizes = [before, after, left].map(({ resident }) => `${resident.toFixed(0)} MiB`);
  t.ok(left.resident <= before.resident + KEPT_MEMORY, `memory falls back: ${sizes.join(', ')}`);
}
