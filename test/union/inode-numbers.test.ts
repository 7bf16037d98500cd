/** Inode numbers of several file systems under one mount. */
import fc from 'fast-check';
import t from 'tap';
import { InodeNumbers } from '../../src/union/inode-numbers.js';

const word = fc.nat(0xffffffff);

t.test('on one file system the numbers are its own', async (t) => {
  const inodes = new InodeNumbers(1);
  for (const own of [1, 12, 2 ** 31, 2 ** 32 - 1]) t.equal(inodes.number(0, own, 0), own);
  t.equal(inodes.number(0, 5, 1), 2 ** 32 + 5);
  t.equal(inodes.number(0, 0xffffffff, 2 ** 20 - 1), 2 ** 52 - 1);
});

t.test('different files have different numbers that fit a double, and a file always the same', async (t) => {
  for (const count of [1, 2, 31, 40]) {
    const inodes = new InodeNumbers(count);
    const known = new Map<number, string>();
    const file = fc.tuple(fc.nat(count - 1), fc.oneof(fc.nat(50), word), fc.oneof(fc.constant(0), fc.nat(2 ** 21), word));
    fc.assert(
      fc.property(file, ([fileSystem, low, high]) => {
        const number = inodes.number(fileSystem, low, high);
        const key = `${fileSystem}:${high}:${low}`;
        if (!Number.isSafeInteger(number)) t.fail(`${key} has ${number}`);
        if ((known.get(number) ?? key) !== key) t.fail(`${key} and ${known.get(number)} both have ${number}`);
        known.set(number, key);
        if (inodes.number(fileSystem, low, high) !== number) t.fail(`${key} changed`);
      }),
      { numRuns: 2000 },
    );
    t.pass(`${known.size} files of ${count} file systems`);
  }
});

t.test('numbers that fit are the same in the next mount, whatever was asked before', async (t) => {
  const [one, two] = [new InodeNumbers(3), new InodeNumbers(3)];
  two.number(1, 7, 2 ** 30);
  for (const fileSystem of [0, 1, 2]) t.equal(one.number(fileSystem, 99, 1000), two.number(fileSystem, 99, 1000));
  t.equal(one.number(0, 99, 0), 99, 'the first file system keeps its own');
});
