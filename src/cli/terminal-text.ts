/**
 * Text that may have come from an image, a layer or a registry, for a terminal: what is not
 * printable is written as C writes it in a string (as `ls -b` does, coreutils' ls.c, quote_name),
 * so that no name moves the cursor, changes the title, or begins a line that looks like one of
 * ours.
 *
 * Only lines and columns of our own stay: a name's newline is quoted where the line is made
 * (`inLine`), before it can be told from ours no more.
 */

const short: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\t': '\\t',
  '\n': '\\n',
  '\v': '\\v',
  '\f': '\\f',
  '\r': '\\r',
  '\x1b': '\\e',
};

/**
 * C0 and C1 controls, DEL; line and paragraph separators; what turns the direction of what follows
 * (Unicode, UAX #9), by which `txt.exe` reads `exe.txt`; halves of surrogate pairs.
 */
const unprintable = /[\p{Cc}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\p{Cs}]/gu;

function quoted(character: string): string {
  const code = character.codePointAt(0)!;
  return (
    short[character] ??
    (code < 0x20
      ? `\\${code.toString(8).padStart(3, '0')}`
      : `\\u${code.toString(16).padStart(4, '0')}`)
  );
}

/**
 * One line of what is written to a terminal, or a part of it: newlines and tabs are quoted as well.
 */
export function inLine(text: string): string {
  return text.replace(unprintable, quoted);
}

/** Lines for a terminal, their ends kept. */
export function forTerminal(text: string): string {
  return text.replace(unprintable, (character) =>
    character === '\n' || character === '\t' ? character : quoted(character),
  );
}
