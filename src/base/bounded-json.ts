/**
 * JSON from outside: how deep it is and how many values it has is counted before anything is made
 * of it. Six megabytes of `[[],[],…` are three million objects and 900 MB, and deep nesting ends a
 * recursive reader.
 */

export interface JsonBounds {
  /** Arrays and objects within one another. */
  readonly depth: number;
  /** Members of objects count twice: a name and a value. */
  readonly values: number;
}

/** What one document describes: an image, a container, a registry's descriptor. */
export const ONE_THING: JsonBounds = { depth: 64, values: 100_000 };
/** Lists of up to some thousand images with all their layers. */
export const MANY_THINGS: JsonBounds = { depth: 64, values: 1_000_000 };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Throws SyntaxError for what is no JSON, and RangeError for what exceeds a bound. */
export function parseJson(bytes: Uint8Array, bounds: JsonBounds): unknown {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  assertBounded(text, bounds);
  return JSON.parse(text.toString('utf8'));
}

function assertBounded(text: Buffer, { depth, values }: JsonBounds): void {
  let open = 0;
  let count = 1;
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case QUOTE:
        at = endOfString(text, at + 1);
        break;
      case 0x5b: // [
      case 0x7b: // {
        count++;
        if (++open > depth) throw new RangeError(`it is more than ${depth} levels deep`);
        break;
      case 0x5d: // ]
      case 0x7d: // }
        open--;
        break;
      case 0x2c: // ,
      case 0x3a: // :
        count++;
        break;
      default:
        continue;
    }
    if (count > values) throw new RangeError(`it has more than ${values} values`);
  }
}

/**
 * Where the quote is that ends the string whose content begins at `from`; the end of the text where
 * there is none.
 */
function endOfString(text: Buffer, from: number): number {
  for (let quote = text.indexOf(QUOTE, from); quote >= 0; quote = text.indexOf(QUOTE, quote + 1)) {
    let slashes = 0;
    while (quote - slashes > from && text[quote - slashes - 1] === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return quote;
  }
  return text.length;
}
