/**
 * Between the strings of fuse-native, decoded from UTF-8, and byte strings.
 *
 * Bytes that were not UTF-8 arrive as U+FFFD, and which they were cannot be told. A name with that
 * character is used only where a file really has it; nothing is ever created under it.
 */
import { bytesOf, textOf, type ByteString, type Name } from '../../base/bytes.js';
import { E, Errno } from '../../base/errno.js';

const REPLACEMENT = '\uFFFD';
const NAME_MAX = 255;

/** One path component. Throws ENAMETOOLONG. */
export function nameOf(text: string): Name {
  const bytes = bytesOf(text);
  if (bytes.length > NAME_MAX) throw new Errno(E.ENAMETOOLONG);
  return bytes as Name;
}

/** What is to be stored. Throws EILSEQ where bytes have been lost. */
export function storableBytes(text: string): ByteString {
  assertWhole(text);
  return bytesOf(text);
}

export function assertWhole(text: string): void {
  if (text.includes(REPLACEMENT)) throw new Errno(E.EILSEQ);
}

/** Throws EILSEQ for bytes that are not UTF-8, where another text would mislead. */
export function exactText(bytes: ByteString): string {
  const text = textOf(bytes);
  if (text.includes(REPLACEMENT) && bytesOf(text) !== bytes) throw new Errno(E.EILSEQ);
  return text;
}
