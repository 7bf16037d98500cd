import { isUtf8 } from 'node:buffer';
import { textOf, type ByteString } from '../base/bytes.js';
import { PlyfsError } from '../base/error.js';

/**
 * A path that must be text: names in a data root refer to one another, and Docker reads them.
 * `what` it is: `the data root`.
 */
export function pathText(bytes: ByteString, what: string): string {
  if (!isUtf8(Buffer.from(bytes, 'latin1')))
    throw new PlyfsError(
      'name-not-text',
      `The name of ${what} '${textOf(bytes)}' is not UTF-8: rename it`,
    );
  return textOf(bytes);
}
