/**
 * Byte strings.
 *
 * A Linux file name is a sequence of bytes, not text. It is held in a JavaScript
 * string with one character a byte (U+0000 to U+00FF, what Node calls `latin1`):
 * nothing is lost, V8 stores one byte a character, and such strings are Map keys.
 */

declare const byteString: unique symbol;
declare const fileName: unique symbol;

/** Bytes, one a character. Paths, link targets and xattr names are of this type. */
export type ByteString = string & { readonly [byteString]: true };

/** One path component: 1 to 255 bytes, without `/` and NUL, neither `.` nor `..`. */
export type Name = ByteString & { readonly [fileName]: true };

/** The bytes of `text` in UTF-8. */
export function bytesOf(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1') as ByteString;
}

/** For messages: the bytes read as UTF-8 (a byte that is not UTF-8 shows as U+FFFD). */
export function textOf(bytes: ByteString): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
