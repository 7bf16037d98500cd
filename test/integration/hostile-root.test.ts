import t from 'tap';
import { hostileFiles } from '../suites/hostile-root.js';

t.setTimeout(600_000);

t.test('something else in the place of every file of a data root', (t) => hostileFiles(t, 'every'));
