/**
 * Words of Dockerfile instructions: how they are split, quoted, and their variables put in
 * (BuildKit, parser/line_parsers.go, shell/lex.go).
 */
import { UsageError } from '../base/error.js';

/** By white space; quotes and backslashes stay where they are. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word = '';
  let quote = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (quote === '' && /\s/.test(char)) {
      if (word !== '') words.push(word);
      word = '';
      continue;
    }
    word += char;
    if (char === '\\' && quote !== "'" && at + 1 < text.length) word += text[++at]!;
    else if (quote === '' ? char === '"' || char === "'" : char === quote)
      quote = quote === '' ? char : '';
  }
  if (word !== '') words.push(word);
  return words;
}

/**
 * Of ENV and LABEL: `key=value …`, or `key the rest of the line`. Quoted, as in the line. Throws
 * `usage`.
 */
export function splitPairs(text: string, line: string): [key: string, value: string][] {
  const words = splitWords(text);
  const [first] = words;
  if (first === undefined)
    throw new UsageError(`The change "${line}" cannot be made: it requires at least one argument.`);
  if (!first.includes('=')) {
    const match = /^(\S+)\s+([^]+)$/.exec(text);
    if (match === null)
      throw new UsageError(
        `The change "${line}" cannot be made: a name must be followed by a value.`,
      );
    return [[match[1]!, match[2]!]];
  }
  return words.map((word) => {
    const equals = word.indexOf('=');
    if (equals < 0)
      throw new UsageError(
        `The change "${line}" cannot be made: "${word}" is not of the form name=value.`,
      );
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

/** `${NAME`, and what follows the name. */
const BRACED = /\{([A-Za-z_]\w*)(\}|:[-+])/y;
const NAME = /[A-Za-z_]\w*/y;

/** A `${NAME:-word}` or `${NAME:+word}` in whose word we are. */
interface Substitution {
  readonly start: number;
  /** What was expanded before it, and the quote that it stands in. */
  readonly before: string;
  readonly quote: string;
  /** What stands for it in place of the word. */
  readonly instead: string | undefined;
}

/**
 * Quotes and backslashes go, `$NAME`, `${NAME}`, `${NAME:-word}` and `${NAME:+word}` are put in;
 * in such a word the same holds. `wrong` makes the error.
 */
export function expandWord(
  word: string,
  valueOf: (name: string) => string | undefined,
  wrong: (why: string) => Error,
): string {
  const open: Substitution[] = [];
  let expanded = '';
  let quote = '';
  for (let at = 0; at < word.length; at++) {
    const char = word[at]!;
    if (quote === "'") {
      if (char === "'") quote = '';
      else expanded += char;
    } else if (char === '\\') {
      const next = word[++at];
      // Within double quotes a backslash is one, but before what would mean something there.
      if (next === undefined) expanded += '\\';
      else expanded += quote === '"' && !'"$\\'.includes(next) ? `\\${next}` : next;
    } else if (char === '"') quote = quote === '"' ? '' : '"';
    else if (char === "'" && quote === '') quote = "'";
    else if (char === '}' && quote === '' && open.length > 0) {
      const ended = open.pop()!;
      expanded = ended.before + (ended.instead ?? expanded);
      quote = ended.quote;
    } else if (char !== '$') expanded += char;
    else {
      const braced = word[at + 1] === '{';
      const pattern = braced ? BRACED : NAME;
      pattern.lastIndex = at + 1;
      const match = pattern.exec(word);
      if (match === null) {
        if (braced) throw wrong(`"${word.slice(at)}" is no variable`);
        expanded += '$';
        continue;
      }
      const value = valueOf(braced ? match[1]! : match[0]) ?? '';
      const operator = braced ? match[2] : '}';
      if (operator === '}') expanded += value;
      else {
        const takesWord = (operator === ':-') === (value === '');
        const instead = takesWord ? undefined : value;
        open.push({ start: at, before: expanded, quote, instead });
        [expanded, quote] = ['', ''];
      }
      at = pattern.lastIndex - 1;
    }
  }
  if (quote !== '') throw wrong(`it has no closing ${quote}`);
  const [unclosed] = open;
  if (unclosed !== undefined) throw wrong(`"${word.slice(unclosed.start)}" is no variable`);
  return expanded;
}
