/** The system calls and the FUSE session of native/: the only place that loads the addon. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { messageOf, PlyfsError } from '../base/error.js';
import type { SessionConstructor } from './session.js';
import type { Syscalls } from './syscalls.js';

interface Addon {
  readonly sys: Syscalls;
  readonly sessions: SessionConstructor;
  useNewCalls(use: boolean): void;
}

/** From dist/src/sys/, where this file is when it runs. */
const path = fileURLToPath(new URL('../../../build/Release/plyfs.node', import.meta.url));

function load(): Addon {
  try {
    return createRequire(import.meta.url)(path) as Addon;
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND';
    const what = missing ? `is not at ${path}` : `cannot be loaded (${messageOf(error)})`;
    throw new PlyfsError(
      'addon-unusable',
      `The native addon ${what}: build it with \`make build\`.`,
      { cause: error },
    );
  }
}

const addon = load();

export const sys: Syscalls = addon.sys;
export const sessions: SessionConstructor = addon.sessions;

/**
 * For tests: false makes the calls that Linux has had for less than a few years (fchmodat2,
 * *xattrat, AT_EMPTY_PATH of linkat and utimensat) go the way older kernels need. Holds for the
 * whole process.
 */
export function useNewCalls(use: boolean): void {
  addon.useNewCalls(use);
}
