/**
 * JSON as Go's encoding/json writes it, for configurations whose bytes must be those that Docker
 * would have made, since their digest is the image's id.
 *
 * Go programs move fields about as raw text (json.RawMessage): numbers and strings keep their
 * spelling, only white space between tokens goes, and `<`, `>`, `&`, U+2028 and U+2029 are escaped
 * everywhere. Keys of maps are sorted by their bytes.
 */

/** A value's text. */
export type RawJson = string & { readonly [raw]: true };
declare const raw: unique symbol;

const unsafe = /[<>&\u2028\u2029]/g;
const escapeUnsafe = (text: string): string =>
  text.replace(unsafe, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);

/**
 * A string, a number, a boolean, null, or arrays and objects of them, whose keys are written in the
 * order they have.
 */
export function goJson(value: unknown): RawJson {
  // Of what JSON.stringify escapes, Go writes \b and \f by number (until Go 1.22), and lone
  // surrogates cannot be in a Go string.
  const text = JSON.stringify(value).replace(/\\[bf]|\\\\/g, (escape) =>
    escape === '\\b' ? '\\u0008' : escape === '\\f' ? '\\u000c' : escape,
  );
  return escapeUnsafe(text) as RawJson;
}

/** An object whose keys are sorted as those of a Go map. */
export function goMap(members: ReadonlyMap<string, RawJson>): RawJson {
  const sorted = [...members].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return goObject(sorted);
}

/** An object whose keys have an order, as those of a Go struct. */
export function goObject(members: readonly (readonly [string, RawJson])[]): RawJson {
  return `{${members.map(([key, value]) => `${goJson(key)}:${value}`).join(',')}}` as RawJson;
}

/** White space is passed over; strings, and words such as numbers, come whole. */
function* tokensOf(text: string): Generator<string> {
  const word = /[^ \t\r\n{}[\]:,"]+/y;
  for (let at = 0; at < text.length;) {
    const char = text[at]!;
    let end = at + 1;
    if (char === '"') end = endOfString(text, at);
    else if (!' \t\r\n{}[]:,'.includes(char)) {
      word.lastIndex = at;
      end = word.test(text) ? word.lastIndex : end;
    }
    if (!' \t\r\n'.includes(char)) yield text.slice(at, end);
    at = end;
  }
}

/**
 * Past the closing quote of the string that begins at `start`: the first one with an even number of
 * backslashes before it.
 */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let escapes = 0;
    while (text[quote - 1 - escapes] === '\\') escapes++;
    if (escapes % 2 === 0) return quote + 1;
  }
  return text.length;
}

/**
 * The members of an object with their values' text, compacted as Go does it; of a key that is there
 * twice the last one. `text` must be JSON (JSON.parse took it) and an object.
 */
export function rawMembers(text: string): Map<string, RawJson> {
  const members = new Map<string, RawJson>();
  let depth = 0;
  let key: string | undefined;
  let value: string[] = [];
  for (const word of tokensOf(text)) {
    if (word === '}' || word === ']') depth--;
    if ((depth === 1 && word === ',') || depth === 0) {
      if (key !== undefined) members.set(key, escapeUnsafe(value.join('')) as RawJson);
      key = undefined;
      value = [];
    } else if (depth === 1 && key === undefined) key = JSON.parse(word) as string;
    // The colon after the key is no part of the value.
    else if (depth > 1 || word !== ':') value.push(word);
    if (word === '{' || word === '[') depth++;
  }
  return members;
}

/** Without trailing zeros in the fraction, as Go writes it. */
export function goTimeOf(time: Date): string {
  return time.toISOString().replace(/\.?0*Z$/, 'Z');
}
