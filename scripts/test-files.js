// What the runner (run-tests.js) has to know of single tests: how long each may take, and what it
// cannot run beside.
import { readFileSync, writeFileSync } from 'node:fs';

/**
 * Seconds that a test may take beside one other, on two processors that do nothing else; more is
 * printed.
 */
const BOUND = 15;

const BOUNDS = {
  'test/integration/kills.test.ts': 440,
  'test/integration/descriptors.test.ts': 310,
  'test/integration/docker-root.test.ts': 250,
  'test/integration/load-directories.test.ts': 200,
  'test/integration/debian-root.test.ts': 180,
  'test/integration/run-debian.test.ts': 160,
  'test/integration/posix-kernel.test.ts': 140,
  'test/integration/hostile-root.test.ts': 120,
  'test/integration/buildah-bud.test.ts': 110,
  'test/cli/hostile-root.test.ts': 100,
  'test/integration/failing-mount.test.ts': 100,
  'test/integration/union-kernel.test.ts': 100,
  'test/runtime/run.test.ts': 100,
  'test/union/mount-union.test.ts': 100,
  'test/integration/node-versions.test.ts': 90,
  'test/union/mount-passthrough-union.test.ts': 90,
  'test/integration/load-stress.test.ts': 80,
  'test/integration/podman.test.ts': 80,
  'test/cli/images.test.ts': 70,
  'test/integration/streams-docker.test.ts': 70,
  'test/union/mount-fuse-native-posix.test.ts': 70,
  'test/union/mount-fuse-native-union.test.ts': 70,
  'test/union/mount-passthrough-posix.test.ts': 60,
  'test/cli/explain.test.ts': 50,
  'test/cli/flat-memory.test.ts': 50,
  'test/cli/mounts.test.ts': 50,
  'test/integration/pull-registries.test.ts': 50,
  'test/integration/registries.test.ts': 50,
  'test/layer/killed.test.ts': 50,
  'test/cli/full-disk.test.ts': 40,
  'test/faults/failing-calls.test.ts': 40,
  'test/faults/kills.test.ts': 40,
  'test/integration/bench.test.ts': 40,
  'test/integration/load-git.test.ts': 40,
  'test/integration/load-mixed.test.ts': 40,
  'test/integration/ownership-peer.test.ts': 40,
  'test/union/mount-posix-merged.test.ts': 40,
  'test/union/mount-posix-opaque.test.ts': 40,
  'test/union/mount-posix-upper.test.ts': 40,
  'test/union/mount-posix-whiteout.test.ts': 40,
  'test/union/open-files.test.ts': 40,
  'test/archive/hostile-layers.test.ts': 30,
  'test/cli/registries.test.ts': 30,
  'test/cli/terminal.test.ts': 30,
  'test/graphdriver/aufs.test.ts': 30,
  'test/graphdriver/fuse-overlayfs.test.ts': 30,
  'test/graphdriver/overlay2.test.ts': 30,
  'test/image/document-bounds.test.ts': 30,
  'test/integration/layer-dialects.test.ts': 30,
  'test/integration/sqlite-wal.test.ts': 30,
  'test/overlay/deep-trees.test.ts': 30,
  'test/runtime/escapes.test.ts': 30,
  'test/suites/posix-suite.test.ts': 30,
  'test/union/bad-input.test.ts': 30,
  'test/union/mount-posix-lower.test.ts': 30,
  'test/union/oracle.test.ts': 30,
  'test/union/owner-modes.test.ts': 30,
  'test/union/whiteout-forms.test.ts': 30,
  'test/cli/completion/completion.test.ts': 20,
  'test/cli/containers-ordinary-user.test.ts': 20,
  'test/cli/mount-trust.test.ts': 20,
  'test/cli/mounts-inside.test.ts': 20,
  'test/cli/ply.test.ts': 20,
  'test/cli/plyfs.test.ts': 20,
  'test/distribution/pull-killed.test.ts': 20,
  'test/engine/containers.test.ts': 20,
  'test/graphdriver/ordinary-user.test.ts': 20,
  'test/integration/escapes-docker.test.ts': 20,
  'test/integration/image-archives.test.ts': 20,
  'test/layer/replaced-files.test.ts': 20,
  'test/suites/permission-matrix.test.ts': 20,
  'test/union/hard-links.test.ts': 20,
  'test/union/inode-index.test.ts': 20,
  'test/union/ownership.test.ts': 20,
  'test/union/redirect-metacopy.test.ts': 20,
};

/**
 * Tests that run beside no other. The benchmark measures, and its disk image is in use for as long
 * as another test has a mount namespace that was cloned meanwhile.
 */
const ALONE = ['test/integration/bench.test.ts'];

/** Tests that use what the machine has once; two of a row never run at the same time. */
const SHARING = [];

/** Where the last run's times are kept. */
const TIMES = 'dist/test-times.json';

/** `dist/test/x.test.js` is compiled from `test/x.test.ts`. */
export const sourceOf = (file) => file.replace(/^.*?\bdist\//, '').replace(/\.js$/, '.ts');

/** Seconds. */
export const boundOf = (file) => BOUNDS[sourceOf(file)] ?? BOUND;

/** Whether two tests may not run at the same time. */
export const excludes = (a, b) =>
  ALONE.includes(sourceOf(a)) ||
  ALONE.includes(sourceOf(b)) ||
  SHARING.some(({ tests }) => tests.includes(sourceOf(a)) && tests.includes(sourceOf(b)));

const times = readTimes();

/** Seconds: those of the last run here, else its bound. */
export const timeOf = (file) => times[sourceOf(file)] ?? boundOf(file);

export function keepTimes(seconds) {
  writeFileSync(TIMES, JSON.stringify({ ...readTimes(), ...seconds }));
}

function readTimes() {
  try {
    return JSON.parse(readFileSync(TIMES, 'utf8'));
  } catch {
    return {};
  }
}
