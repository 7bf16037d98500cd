/** `user.containers.override_stat`: what is written can be read, and nothing else is believed. */
import fc from 'fast-check';
import t from 'tap';
import { STAT_FIELDS, StatField } from '../../src/sys/syscalls.js';
import {
  applyOverride,
  formatOverrideStat,
  parseOverrideStat,
  type OverrideStat,
} from '../../src/overlay/override-stat.js';

const bytes = (text: string) => Buffer.from(text, 'latin1');
const [DIR, REG, LNK, CHR, BLK, FIFO, SOCK] = [
  0o040000, 0o100000, 0o120000, 0o020000, 0o060000, 0o010000, 0o140000,
];

const id = fc.nat(0xfffffffe);
const plain = fc.record({
  uid: id,
  gid: id,
  mode: fc.nat(0o7777),
  type: fc.constantFrom(DIR, REG, LNK, FIFO, SOCK),
  major: fc.constant(0),
  minor: fc.constant(0),
});
const device = fc.record({
  uid: id,
  gid: id,
  mode: fc.nat(0o7777),
  type: fc.constantFrom(CHR, BLK),
  major: fc.nat(2 ** 12 - 1),
  minor: fc.nat(2 ** 20 - 1),
});

t.test('what is written is read back', async (t) => {
  fc.assert(
    fc.property(fc.oneof(plain, device), (override) => {
      t.strictSame(parseOverrideStat(formatOverrideStat(override)), { ...override });
    }),
    { numRuns: 300 },
  );
});

t.test('the forms of containers/storage and fuse-overlayfs', async (t) => {
  const at = { uid: 1, gid: 2, mode: 0o755, type: 0, major: 0, minor: 0 };
  const forms: Record<string, OverrideStat> = {
    '1:2:755': at,
    '1:2:0755': at,
    '1:2:755\0': at,
    '1:2:040755': { ...at, type: DIR },
    '1:2:0100755': { ...at, type: REG },
    '1:2:755:dir': { ...at, type: DIR },
    '1:2:040755:dir': { ...at, type: DIR },
    '1:2:6755:file': { ...at, mode: 0o6755, type: REG },
    '1:2:755:symlink': { ...at, type: LNK },
    '1:2:755:pipe': { ...at, type: FIFO },
    '1:2:755:socket': { ...at, type: SOCK },
    '1:2:755:block-8-1': { ...at, type: BLK, major: 8, minor: 1 },
    '1:2:755:char-0-0': { ...at, type: CHR },
  };
  for (const [text, wanted] of Object.entries(forms))
    t.strictSame(parseOverrideStat(bytes(text)), wanted, JSON.stringify(text));
  t.equal(formatOverrideStat({ ...at, type: DIR }).toString(), '1:2:0755:dir');
});

t.test('anything else is not understood, and never throws', async (t) => {
  const wrong = [
    '',
    ':',
    '::',
    '1:2',
    '1:2:',
    '1:2:8',
    '1:2:755:',
    '1:2:755:x',
    '1:2:755:char',
    '1:2:755:char-1',
    '1:2:755:char-1-2-3',
  ];
  wrong.push(
    '1:2:755:char-4096-0',
    '1:2:755:char-0-1048576',
    '4294967295:0:755',
    '0:4294967295:755',
    '-1:2:755',
    '1:2:-755',
    '1:2:00000755',
  );
  wrong.push(
    '1 :2:755',
    '1:2:755\n',
    '\x001:2:755',
    '1:2:755\0x',
    '0x1:2:755',
    '1e3:2:755',
    '1:2:755:FILE',
    '1'.repeat(300),
    '\xff\xfe',
  );
  for (const text of wrong)
    t.equal(parseOverrideStat(bytes(text)), undefined, JSON.stringify(text.slice(0, 40)));
  const near = fc.string({
    unit: fc.constantFrom(...'0123456789:-\0 dirfleblockha'.split('')),
    maxLength: 40,
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), near.map(bytes)), (value) => {
      const parsed = parseOverrideStat(value);
      if (parsed === undefined) return;
      const { uid, gid, mode, major, minor } = parsed;
      if (
        uid > 0xfffffffe ||
        gid > 0xfffffffe ||
        mode > 0o7777 ||
        major >= 4096 ||
        minor >= 2 ** 20
      )
        t.fail(`out of range: ${String(value)}`);
    }),
    { numRuns: 2000 },
  );
});

t.test('only a regular file stands for a file of another type', async (t) => {
  const real = [DIR, REG, LNK, CHR, BLK, FIFO, SOCK];
  for (const type of [0, ...real]) {
    for (const is of real) {
      const stat = new Float64Array(2 * STAT_FIELDS);
      stat[STAT_FIELDS + StatField.Mode] = is | 0o644;
      stat[STAT_FIELDS + StatField.RdevMajor] = 7;
      applyOverride(stat, 1, { uid: 3, gid: 4, mode: 0o4711, type, major: 1, minor: 5 });
      const shown = is === REG && type !== 0 && type !== DIR && type !== LNK ? type : is;
      t.equal(
        stat[STAT_FIELDS + StatField.Mode],
        shown | 0o4711,
        `${is.toString(8)} said to be ${type.toString(8)}`,
      );
      t.equal(stat[STAT_FIELDS + StatField.Uid], 3);
      const replaced = is === REG && (type === CHR || type === BLK);
      t.equal(
        stat[STAT_FIELDS + StatField.RdevMajor],
        replaced ? 1 : 7,
        'the number of a real device stays its own',
      );
    }
  }
});
