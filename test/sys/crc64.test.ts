/**
 * crc64 against the check value of CRC-64/GO-ISO (reveng catalogue), and against the definition,
 * bit by bit.
 */
import fc from 'fast-check';
import t from 'tap';
import { sys } from '../../src/sys/index.js';

function crc64(...pieces: Uint8Array[]): string {
  const state = Buffer.alloc(8);
  for (const piece of pieces) sys.crc64(state, piece);
  return state.toString('hex');
}

function byDefinition(bytes: Uint8Array): string {
  let crc = 0xffffffffffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++)
      crc = (crc & 1n) === 1n ? (crc >> 1n) ^ 0xd800000000000000n : crc >> 1n;
  }
  return (crc ^ 0xffffffffffffffffn).toString(16).padStart(16, '0');
}

t.test('the check value', async (t) => {
  t.equal(crc64(Buffer.from('123456789')), 'b90956c775a41001');
  t.equal(crc64(), '0000000000000000');
});

t.test('any bytes in any pieces', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }), (pieces) => {
      t.equal(crc64(...pieces), byDefinition(Buffer.concat(pieces)));
    }),
  );
});

t.test('wrong arguments', async (t) => {
  t.throws(() => sys.crc64(Buffer.alloc(7), Buffer.alloc(1)), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => sys.crc64(Buffer.alloc(8), 'text' as unknown as Uint8Array), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
});
