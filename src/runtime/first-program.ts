/**
 * The program that a container's first process is until it becomes the container's
 * (native/container/), as a sealed copy in memory.
 *
 * What a container's /proc/1/exe leads to can be executed, and so opened and changed, from inside:
 * where that is a file of the host's, root of a container makes itself root of the host
 * (CVE-2019-5736). The copy can be changed by nobody, and goes with the sandbox.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bytesOf } from '../base/bytes.js';
import { check } from '../base/errno.js';
import { messageOf, PlyfsError } from '../base/error.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';

/** From dist/src/runtime/, where this file is when it runs. */
const path = fileURLToPath(new URL('../../../build/Release/container-init', import.meta.url));

/** A descriptor, close-on-exec, which is the caller's. */
export function sealedFirstProgram(): number {
  let program: Buffer;
  try {
    program = readFileSync(path);
  } catch (error) {
    throw new PlyfsError(
      'addon-unusable',
      `A container's first program cannot be read (${messageOf(error)}): build it with \`make build\`.`,
      {
        cause: error,
      },
    );
  }
  const fd = sys.memfdCreate(bytesOf('container-init'));
  if (fd < 0) {
    throw new PlyfsError(
      'sandbox-denied',
      'The kernel refuses a program in memory, which a container starts from (see sysctl vm.memfd_noexec).',
    );
  }
  try {
    writeFileSync(fd, program);
    check(
      sys.addSeals(fd, c.F_SEAL_SEAL | c.F_SEAL_SHRINK | c.F_SEAL_GROW | c.F_SEAL_WRITE),
      'seals',
    );
  } catch (error) {
    sys.close(fd);
    throw error;
  }
  return fd;
}
