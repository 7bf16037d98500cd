/** The POSIX suite on a plain directory: what it expects is what Linux does. */
import t from 'tap';
import { posixSuite } from './posix-suite.js';
import { workspace } from './workspace.js';

await posixSuite(t, await workspace(t), { target: 'a plain directory' });
