/**
 * What a union of layers must do (overlayfs.rst, OCI image-spec layer.md), through any program that
 * mounts one. Each case lays out layers on disk, mounts, acts, and looks at the mount and at what
 * is in the upper directory.
 */
import type { Test } from 'tap';
import { figure } from '../support/figures.js';
import { kernel, targetName, unavailable, type Mounter } from './mounters.js';
import { copyUpCases } from './union/copy-up.js';
import { exchangeCases } from './union/exchange.js';
import { inodeNumberCases } from './union/inode-numbers.js';
import { lookupCases } from './union/lookup.js';
import { peerFailureCases } from './union/peer-failures.js';
import { renameCases } from './union/rename.js';
import { UnionScene, type UnionCases } from './union/scene.js';
import { whiteoutCases } from './union/whiteouts.js';
import { xattrCases } from './union/xattrs.js';

const groups: Readonly<Record<string, UnionCases>> = {
  lookup: lookupCases,
  whiteouts: whiteoutCases,
  'copy-up': copyUpCases,
  rename: renameCases,
  xattrs: xattrCases,
  'inode numbers': inodeNumberCases,
  'uppers exchanged with the kernel': exchangeCases,
  'where peers are known to fail': peerFailureCases,
};

/**
 * Runs every case as a subtest; `exclude`: cases this target cannot pass, by name, each with its
 * reason.
 */
export async function unionSuite(
  t: Test,
  mounter: Mounter,
  exclude: Readonly<Record<string, string>> = {},
): Promise<void> {
  const root = process.getuid?.() === 0;
  const names = new Set(Object.values(groups).flatMap((cases) => Object.keys(cases)));
  for (const name of Object.keys(exclude))
    if (!names.has(name)) t.fail(`the exclusion "${name}" names no case`);
  const counted = { cases: 0, assertions: 0 };
  const noKernel = await unavailable(t, kernel);
  for (const [group, cases] of Object.entries(groups)) {
    await t.test(group, async (t) => {
      for (const [name, entry] of Object.entries(cases)) {
        if (exclude[name] !== undefined) {
          t.comment(`not for this target: ${name}: ${exclude[name]}`);
          continue;
        }
        const one = typeof entry === 'function' ? { run: entry } : entry;
        const skip = one.needsRoot && !root ? 'needs root' : one.needsKernel ? noKernel : undefined;
        await t.test(name, { skip: skip ?? false }, async (t) => {
          const scene = await UnionScene.create(t, mounter, one.layers ?? 1, one.options ?? []);
          try {
            await one.run(scene);
            counted.cases++;
            counted.assertions += t.counts.pass;
          } finally {
            await scene.end();
          }
        });
      }
    });
  }
  figure(t, counted.cases, `union cases on ${targetName(mounter)}`);
  figure(t, counted.assertions, `union assertions on ${targetName(mounter)}`);
}
