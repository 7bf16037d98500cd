/** Sizes as Docker's options have them: `10G`, `512m`, `1048576` (go-units, RAMInBytes). */
import { PlyfsError } from '../base/error.js';

const pattern = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i;
const POWERS = ['', 'k', 'm', 'g', 't', 'p'];

/** Bytes. Throws `option-invalid`. */
export function parseSize(option: string, text: string): number {
  const match = pattern.exec(text);
  const bytes =
    match === null
      ? NaN
      : Math.floor(Number(match[1]) * 1024 ** POWERS.indexOf(match[2]!.toLowerCase()));
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new PlyfsError(
    'option-invalid',
    `option ${option}: '${text}' is no size: write it as 10G or 512m.`,
  );
}
