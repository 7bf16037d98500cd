/** Values that look like what overlays write, and are not quite. */
import fc from 'fast-check';

const number = fc.oneof(
  fc.nat(5000),
  fc.constantFrom(4_294_967_294, 4_294_967_295, 4_294_967_296, 99_999_999_999),
);

/** `uid:gid:mode[:type]` */
export const overrideLike = fc
  .tuple(
    number,
    number,
    fc.oneof(fc.nat(0o177777), number).map((mode) => mode.toString(8)),
    fc.oneof(
      fc.constantFrom(
        '',
        ':dir',
        ':file',
        ':symlink',
        ':pipe',
        ':socket',
        ':',
        ':nothing',
        ':block',
        ':char-',
        ':dir\0\0',
        ':file:more',
      ),
      fc
        .tuple(fc.constantFrom('block', 'char'), number, number)
        .map(([kind, major, minor]) => `:${kind}-${major}-${minor}`),
    ),
    fc.constantFrom('', '', '', '\0', ' ', '\n', '9'.repeat(300)),
  )
  .map(([uid, gid, mode, type, end]) =>
    Buffer.from(`${uid}:${gid}:${mode}${type}${end}`, 'latin1'),
  );

const component = fc.constantFrom(
  'a',
  'b',
  'c',
  'dir',
  '.',
  '..',
  '',
  'n'.repeat(255),
  'n'.repeat(256),
  'outside',
  '\xff',
  'a\0b',
);

/** A path, absolute or not, that may lead anywhere. */
export const redirectLike = fc
  .oneof(
    fc
      .tuple(fc.boolean(), fc.array(component, { maxLength: 6 }))
      .map(([absolute, parts]) => (absolute ? '/' : '') + parts.join('/')),
    fc.constantFrom(
      'a',
      'b',
      '/a',
      '/b/a',
      '/a/b/c',
      '/../outside',
      '../outside',
      '/outside',
      '/a/'.repeat(500),
      'x'.repeat(3000),
    ),
  )
  .map((text) => Buffer.from(text, 'latin1'));

/**
 * struct ovl_fb with a handle of one's own (`struct file_handle` as name_to_handle_at(2) gives it),
 * bent or not.
 */
export function originLike(uuid: Buffer, handle: Buffer): fc.Arbitrary<Buffer> {
  return fc
    .record({
      version: fc.constantFrom(0, 0, 0, 1, 255),
      magic: fc.constantFrom(0xfb, 0xfb, 0xfb, 0),
      flags: fc.constantFrom(0, 0, 0, 1, 2, 3, 4, 255),
      type: fc.constantFrom(handle.length >= 8 ? handle.readInt32LE(4) & 0xff : 1, 1, 2, 0, 255),
      uuid: fc.constantFrom(uuid, uuid, Buffer.alloc(16)),
      id: fc.oneof(
        fc.constant(handle.subarray(8)),
        fc.uint8Array({ maxLength: 140 }).map((data) => Buffer.from(data)),
        fc.tuple(fc.nat(30), fc.nat(255)).map(([at, byte]) => {
          const bent = Buffer.from(handle.subarray(8));
          if (bent.length > 0) bent[at % bent.length] = byte;
          return bent;
        }),
      ),
      length: fc.constantFrom('right', 'right', 'right', 'short', 'long', 'zero'),
    })
    .map((one) => {
      const value = Buffer.concat([
        Buffer.from([one.version, one.magic, 0, one.flags, one.type]),
        one.uuid,
        one.id,
      ]);
      value[2] =
        { right: value.length, short: value.length - 1, long: value.length + 1, zero: 0 }[
          one.length
        ] & 0xff;
      return value;
    });
}
