/**
 * What the tests of this directory share: a union mounted by the built program, its daemon, and the
 * kernel's caches.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import type { Test } from 'tap';
import { daemonsOf } from '../support/mounts.js';
import { isRoot } from '../support/users.js';
import { kernel, plyfs, unavailable } from '../suites/mounters.js';
import { UnionScene, type UnionCase } from '../suites/union/scene.js';

/** One subtest over a union of its own; nothing is mounted yet when `run` begins. */
export async function onUnion(
  t: Test,
  name: string,
  wanted: Omit<UnionCase, 'run'>,
  run: UnionCase['run'],
): Promise<void> {
  await t.test(name, { skip: wanted.needsRoot === true && !isRoot && 'needs root' }, async (t) => {
    const missing =
      (await unavailable(t, plyfs)) ??
      (wanted.needsKernel === true ? await unavailable(t, kernel) : undefined);
    if (missing !== undefined) {
      t.plan(0, missing);
      return;
    }
    const scene = await UnionScene.create(t, plyfs, wanted.layers ?? 1, wanted.options ?? []);
    try {
      await run(scene);
    } finally {
      await scene.end();
    }
  });
}

/** The process that serves the scene's mount. */
export function daemonOf(scene: UnionScene): number {
  const [pid] = daemonsOf(scene.union.mnt);
  if (pid === undefined) throw new Error('no daemon serves the mount');
  return pid;
}

export function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** The kernel forgets every node that nothing uses; as an ordinary user it keeps what it knows. */
export function dropCaches(): void {
  if (!isRoot) return;
  writeFileSync('/proc/sys/vm/drop_caches', '2');
}

/**
 * Resolves once `reached` holds; rejects when it does not within a minute. Each look yields to
 * other processes.
 */
export async function eventually(
  reached: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  const until = Date.now() + 60_000;
  while (!(await reached())) {
    if (Date.now() > until) throw new Error(`not within a minute: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
