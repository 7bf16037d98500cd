/** Inode numbers of several devices under one mount. */
import fc from 'fast-check';
import t from 'tap';
import { numberOn } from '../../src/union/inode-numbers.js';
import type { Device } from '../../src/overlay/layer.js';

const word = fc.nat(0xffffffff);

function device(base: number, limit: number, name = `device at ${base}`): Device {
  return { major: 0, minor: 0, base, limit, numbersApart: true, uuid: null, name };
}

const alone = device(0, 2 ** 52);
/** As of three layers: their roots lie on different devices. */
const roots = [0, 1, 2].map((i) => device(i * 2 ** 47, 2 ** 47));
/** Met inside a layer. */
const met = [0, 1, 2 ** 19 - 1].map((range) => device(2 ** 52 + range * 2 ** 32, 2 ** 32));

t.test('on one device the numbers are its own', async (t) => {
  for (const own of [1, 12, 2 ** 31, 2 ** 32 - 1]) t.equal(numberOn(alone, own, 0), own);
  t.equal(numberOn(alone, 5, 1), 2 ** 32 + 5);
  t.equal(numberOn(alone, 0xffffffff, 2 ** 20 - 1), 2 ** 52 - 1);
});

t.test('different files have different numbers that fit a double', async (t) => {
  for (const devices of [
    [alone, ...met],
    [...roots, ...met],
  ]) {
    const known = new Map<number, string>();
    const file = fc.tuple(
      fc.constantFrom(...devices),
      fc.oneof(fc.nat(50), word),
      fc.oneof(fc.constant(0), fc.nat(2 ** 21), word),
    );
    fc.assert(
      fc.property(file, ([of, low, high]) => {
        const number = numberOn(of, low, high);
        const key = `${of.name}:${high}:${low}`;
        if (!Number.isSafeInteger(number)) t.fail(`${key} has ${number}`);
        if ((known.get(number) ?? key) !== key)
          t.fail(`${key} and ${known.get(number)} both have ${number}`);
        known.set(number, key);
      }),
      { numRuns: 2000 },
    );
    t.pass(`${known.size} files of ${devices.length} devices`);
  }
});

t.test(
  'a number that does not fit is the same in the next mount, where the device has the same name',
  async (t) => {
    const [one, again] = [device(2 ** 47, 2 ** 47, 'uuid'), device(2 ** 48, 2 ** 47, 'uuid')];
    t.equal(numberOn(one, 7, 2 ** 30), numberOn(again, 7, 2 ** 30));
    t.not(numberOn(one, 7, 2 ** 30), numberOn(device(0, 2 ** 47, 'other'), 7, 2 ** 30));
  },
);
