import t from 'tap';
import type { ByteString } from '../../src/base/bytes.js';
import { Errno } from '../../src/base/errno.js';
import {
  deviceMajor,
  deviceMinor,
  DirectoryWriter,
  encodeDevice,
  timeoutOf,
  writeAttr,
  writeEntry,
} from '../../src/fuse/reply.js';
import { Slot } from '../../src/fuse/request.js';
import type { NodeId } from '../../src/vfs/filesystem.js';
import { message, strings, u32, u64 } from './fake-session.js';

const REPLY = 4096;

function slotOf(request: Buffer): Slot {
  const memory = new ArrayBuffer(2 * REPLY);
  Buffer.from(memory).set(request);
  const slot = new Slot(0, memory, REPLY, REPLY);
  slot.begin();
  return slot;
}

/** The errno of what `action` throws; 0 when it does not. */
function errnoOf(action: () => unknown): number {
  try {
    action();
    return 0;
  } catch (error) {
    if (error instanceof Errno) return error.errno;
    throw error;
  }
}

const forever = timeoutOf(Infinity);
const timeouts = {
  entry: forever,
  attr: timeoutOf(1.5),
  negative: timeoutOf(0),
  changing: new Set<number>(),
};

t.test('times of the cache', async (t) => {
  t.same(timeoutOf(1.5), { sec: 1, nsec: 5e8 });
  t.same(timeoutOf(0), { sec: 0, nsec: 0 });
  t.same(timeoutOf(-1), { sec: 0, nsec: 0 });
  t.same(timeoutOf(NaN), { sec: 0, nsec: 0 });
  t.same(timeoutOf(Infinity), { sec: 0xffffffff, nsec: 0 });
  t.same(timeoutOf(1e9), { sec: 1e9, nsec: 0 });
});

t.test('device numbers', async (t) => {
  for (const [major, minor] of [
    [0, 0],
    [8, 1],
    [4095, 0xfffff],
    [259, 256],
  ] as const) {
    const device = encodeDevice(major, minor);
    t.ok(device >= 0 && device <= 0xffffffff);
    t.same([deviceMajor(device), deviceMinor(device)], [major, minor]);
  }
  t.equal(encodeDevice(8, 1), 0x801);
  t.equal(encodeDevice(1, 0x12345), 0x12300145);
});

t.test('attributes: large and negative numbers', async (t) => {
  const slot = slotOf(message(3, 1));
  Object.assign(slot.attributes, {
    ino: 2 ** 52 + 3,
    size: 5_000_000_000,
    blocks: 8,
    atimeSec: -1,
    mtimeSec: -2_208_988_800,
    ctimeSec: 1_700_000_000,
    atimeNsec: 999_999_999,
    mode: 0o100644,
    nlink: 3,
    uid: 0xfffffffe,
    gid: 7,
    rdevMajor: 8,
    rdevMinor: 1,
    blksize: 4096,
  });
  t.equal(writeAttr(slot, timeouts), 104);
  const body = slot.bytes.subarray(REPLY);
  t.equal(body.readBigUInt64LE(0), 1n);
  t.equal(body.readUInt32LE(8), 5e8);
  const attr = body.subarray(16);
  t.equal(attr.readBigUInt64LE(0), 2n ** 52n + 3n);
  t.equal(attr.readBigUInt64LE(8), 5_000_000_000n);
  t.equal(attr.readBigInt64LE(24), -1n);
  t.equal(attr.readBigInt64LE(32), -2_208_988_800n);
  t.equal(attr.readBigInt64LE(40), 1_700_000_000n);
  t.equal(attr.readUInt32LE(48), 999_999_999);
  t.same(
    [60, 64, 68, 72, 76, 80, 84].map((at) => attr.readUInt32LE(at)),
    [0o100644, 3, 0xfffffffe, 7, 0x801, 4096, 0],
  );
  t.equal(writeEntry(slot, 9 as NodeId, timeouts), 128);
  t.equal(body.readBigUInt64LE(0), 9n);
  t.equal(body.readBigUInt64LE(8), 0n);
  t.equal(body.readBigUInt64LE(16), 0xffffffffn);
});

t.test('numbers in requests', async (t) => {
  const slot = slotOf(
    message(4, 1, Buffer.concat([u64(2 ** 52 + 1, 2n ** 53n, -5, -(2n ** 60n)), u32(7)])),
  );
  t.equal(slot.u64(0, 22), 2 ** 52 + 1);
  t.equal(
    errnoOf(() => slot.u64(8, 27)),
    27,
  );
  t.equal(slot.s64(16), -5);
  t.equal(slot.s64(24), -(2 ** 60), 'of numbers beyond 2^53 the nearest double');
  t.equal(slot.u32(32), 7);
  t.equal(
    errnoOf(() => slotOf(message(4, 1, Buffer.alloc(8))).fixed(16)),
    5,
  );
});

t.test('names', async (t) => {
  const read = (text: string): string => {
    const slot = slotOf(message(1, 1, Buffer.from(text, 'latin1')));
    slot.fixed(0);
    return slot.name();
  };
  t.equal(read('a\xff\x80\0'), 'a\xff\x80');
  t.equal(read('...\0'), '...');
  t.equal(read(`${'x'.repeat(255)}\0`).length, 255);
  t.equal(
    errnoOf(() => read(`${'x'.repeat(256)}\0`)),
    36,
  );
  for (const bad of ['\0', '.\0', '..\0', 'a/b\0', '/\0'])
    t.equal(
      errnoOf(() => read(bad)),
      22,
      JSON.stringify(bad),
    );
  t.equal(
    errnoOf(() => read('unended')),
    5,
  );
  t.equal(
    errnoOf(() => read('')),
    5,
  );
});

t.test('strings do not run into extensions', async (t) => {
  const slot = slotOf(message(9, 1, Buffer.from('name', 'latin1'), Buffer.alloc(8)));
  slot.fixed(0);
  t.equal(
    errnoOf(() => slot.name()),
    5,
  );
});

t.test('the parent group', async (t) => {
  const group = (extensions: Buffer, body: Buffer = strings('name')): number =>
    slotOf(message(9, 1, body, extensions)).caller(0o22).parentGroup;
  t.equal(group(Buffer.alloc(0)), -1);
  t.equal(group(u32(16, 32, 1, 4242)), 4242);
  t.equal(group(u32(16, 32, 1, 4242), strings('names')), 4242, 'not aligned');
  t.equal(
    group(Buffer.concat([u32(8, 1), u32(16, 32, 1, 7)])),
    7,
    'other extensions are passed over',
  );
  t.equal(group(u32(16, 32, 0, 0)), -1);
  t.equal(
    errnoOf(() => group(u32(16, 32, 2, 1))),
    5,
  );
  t.equal(
    errnoOf(() => group(u32(0, 32, 1, 1))),
    5,
  );
  t.equal(
    errnoOf(() => group(u32(24, 32, 1, 1))),
    5,
  );
  t.match(slotOf(message(9, 1)).caller(0o22), {
    uid: 1000,
    gid: 100,
    pid: 4711,
    umask: 0o22,
    interrupted: false,
  });
});

t.test('headers', async (t) => {
  const lying = (length: number, extensions = 0): boolean => {
    const request = message(1, 1, strings('x'));
    request.writeUInt32LE(length, 0);
    request.writeUInt16LE(extensions, 36);
    return slotOf(request).begin();
  };
  t.equal(lying(42), true);
  t.equal(lying(39), false);
  t.equal(lying(0), false);
  t.equal(lying(0xffffffff), false);
  t.equal(lying(42, 1), false, 'extensions longer than the request');
});

t.test('directory records', async (t) => {
  const slot = slotOf(message(28, 1));
  slot.bytes.fill(0xff, REPLY);
  const plain = new DirectoryWriter(slot, 64, false, timeouts);
  t.equal(plain.entry('abc' as ByteString, 12, 8, 1), true);
  t.equal(plain.used, 32);
  t.equal(plain.entry('12345678' as ByteString, 13, 4, 2), true);
  t.equal(plain.used, 64);
  t.equal(plain.entry('x' as ByteString, 14, 8, 3), false);
  const body = slot.bytes.subarray(REPLY);
  t.same(
    [
      body.readBigUInt64LE(0),
      body.readBigUInt64LE(8),
      body.readUInt32LE(16),
      body.readUInt32LE(20),
    ],
    [12n, 1n, 3, 8],
  );
  t.equal(body.toString('latin1', 24, 32), 'abc\0\0\0\0\0');
  t.equal(body.toString('latin1', 56, 64), '12345678');

  const plus = new DirectoryWriter(slot, 1 << 20, true, timeouts);
  slot.attributes.ino = 77;
  t.equal(plus.entry('.' as ByteString, 1, 4, 1), true);
  t.equal(plus.entryPlus('..' as ByteString, 5 as NodeId, slot.attributes, 4, 2), true);
  t.equal(plus.entryPlus('f' as ByteString, 6 as NodeId, slot.attributes, 8, 3), true);
  t.same(plus.unclaimed, [5], 'the kernel takes no reference on ..');
  t.equal(plus.used, 3 * 160);
  t.same(
    [0, 160, 320].map((at) => body.readBigUInt64LE(at)),
    [0n, 0n, 6n],
  );
  t.equal(body.readBigUInt64LE(320 + 40), 77n);
  t.equal(body.readBigUInt64LE(320 + 128 + 8), 3n);
  let count = 3;
  while (plus.entryPlus('f' as ByteString, 6 as NodeId, slot.attributes, 8, ++count));
  t.ok(plus.used <= REPLY, 'never beyond the room for the answer');
  t.equal(plus.fits(1), false);
});
