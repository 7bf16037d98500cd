/**
 * Loads the npm package `fuse-native`, when this transport is asked for and not before.
 *
 * Its addon (compiled by its install script, or the prebuilt one when install scripts did not run)
 * needs `libfuse.so.2`, has no RUNPATH, and the package carries the library under the name
 * `libfuse.so`: the dynamic linker finds nothing unless the system has libfuse 2. So the library is
 * mapped first. glibc's linker takes a library that is mapped already for one it needs when the
 * SONAME is the same (ld.so, _dl_map_object), and the SONAME of `libfuse.so` is `libfuse.so.2`.
 * Mapping is done by process.dlopen, which rejects what is not an addon and closes it again;
 * RTLD_NODELETE (dlopen(3)) keeps it mapped all the same. This needs no file outside the packages
 * and changes none, no LD_LIBRARY_PATH (read at program start only) and no second program start.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import type Fuse from 'fuse-native';
import { messageOf, PlyfsError } from '../../base/error.js';

/** The addon's functions that the adapter calls itself. */
export interface FuseNativeBinding {
  readonly sizeof_fuse_thread_t: number;
  readonly op_utimens: number;
  /** Mounts and starts libfuse's threads. Throws. */
  fuse_native_mount(
    mountpoint: string,
    options: string,
    thread: Buffer,
    self: Fuse,
    malloc: (bytes: number) => Buffer,
    handlers: readonly Fuse.Handler[],
    implemented: Uint32Array,
  ): void;
  /** Does not unmount: lets go of the event loop. */
  fuse_native_unmount(mountpoint: string, thread: Buffer): void;
}

export interface FuseNative {
  readonly Fuse: typeof Fuse;
  readonly binding: FuseNativeBinding;
}

/** bits/dlfcn.h; Node has no constant for it. */
const RTLD_NODELETE = 0x1000;

let loaded: FuseNative | null = null;

/** Throws PlyfsError `fuse-native-unusable`. */
export function loadFuseNative(): FuseNative {
  return (loaded ??= load());
}

function load(): FuseNative {
  const require = createRequire(import.meta.url);
  let manifest;
  try {
    manifest = require.resolve('fuse-native/package.json');
  } catch (error) {
    throw unusable('is not installed', 'run `npm install fuse-native`', error);
  }
  const root = dirname(manifest);
  const own = createRequire(manifest);
  // A libfuse 2 of the system comes first: it has the distribution's fixes.
  const failure = attempt(() => loadAddon(own, root));
  if (failure instanceof Error) {
    for (const library of libraries(own, root)) {
      map(library);
      if (!(attempt(() => loadAddon(own, root)) instanceof Error)) break;
    }
  }
  try {
    return { binding: loadAddon(own, root), Fuse: require('fuse-native') as typeof Fuse };
  } catch (error) {
    throw unusable(
      `cannot be loaded (${messageOf(error)})`,
      "run `npm install fuse-native` anew, or install libfuse 2 (Debian's package libfuse2)",
      error,
    );
  }
}

/**
 * node-gyp-build finds build/Release, else prebuilds/; the package's index.js gets the same object.
 */
function loadAddon(own: NodeJS.Require, root: string): FuseNativeBinding {
  return (own('node-gyp-build') as (directory: string) => FuseNativeBinding)(root);
}

function libraries(own: NodeJS.Require, root: string): string[] {
  const found = [join(root, 'prebuilds', `linux-${process.arch}`, 'libfuse.so')];
  const shared = attempt(() => (own('fuse-shared-library') as { readonly lib: string }).lib);
  return shared instanceof Error ? found : [...found, shared];
}

function map(library: string): void {
  // It always throws: this is no addon.
  attempt(() => {
    process.dlopen(
      { exports: {} },
      library,
      constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | RTLD_NODELETE,
    );
  });
}

function attempt<T>(action: () => T): T | Error {
  try {
    return action();
  } catch (error) {
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}

function unusable(what: string, remedy: string, cause: unknown): PlyfsError {
  return new PlyfsError(
    'fuse-native-unusable',
    `The npm package fuse-native ${what}: ${remedy}, or use the native transport, which does not need it.`,
    { cause },
  );
}
