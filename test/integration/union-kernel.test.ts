/** The union suite on the kernel's overlay: what it expects is what the oracle does. */
import t from 'tap';
import { kernel, unavailable } from '../suites/mounters.js';
import { unionSuite } from '../suites/union-suite.js';

t.setTimeout(300_000);
const skip = await unavailable(t, kernel);
await t.test('the kernel overlay', { skip: skip ?? false }, (t) =>
  unionSuite(t, kernel, {
    'opaque of fuse-overlayfs is read with userxattr': 'overlayfs knows its own marks only',
    'AUFS markers are read with -o whiteout=aufs, and never shown':
      'overlayfs knows no AUFS markers',
    'rmdir of an upper directory that holds only whiteouts leaves nothing':
      'a directory in the upper alone is listed without looking for whiteouts (fs/overlayfs/readdir.c, ovl_iterate_real)',
    'opening for writing without writing copies nothing':
      'overlayfs copies up at open (fs/overlayfs/copy_up.c, ovl_maybe_copy_up)',
    'metacopies that others made are read in every mode':
      'overlayfs follows a metacopy only with metacopy=on',
    'two names of one lower file stay one file when changed through either':
      'with index=off copy-up breaks hard links',
    'a file open for reading sees what is written after its copy-up':
      'a descriptor opened before copy-up stays on the lower file',
  }),
);
