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

/**
 * Quotes and backslashes go, `$NAME`, `${NAME}`, `${NAME:-word}` and `${NAME:+word}` are put in.
 * `wrong` makes the error.
 */
export function expandWord(
  word: string,
  valueOf: (name: string) => string | undefined,
  wrong: (why: string) => Error,
): string {
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
    else if (char === '$') {
      const { value, end } = variable(word, at + 1, valueOf, wrong);
      expanded += value;
      at = end - 1;
    } else expanded += char;
  }
  if (quote !== '') throw wrong(`it has no closing ${quote}`);
  return expanded;
}

/** What stands for the variable whose name begins at `start`, and where its text ends. */
function variable(
  word: string,
  start: number,
  valueOf: (name: string) => string | undefined,
  wrong: (why: string) => Error,
): { value: string; end: number } {
  if (word[start] !== '{') {
    const name = /^[A-Za-z_]\w*/.exec(word.slice(start))?.[0];
    return name === undefined
      ? { value: '$', end: start }
      : { value: valueOf(name) ?? '', end: start + name.length };
  }
  const close = word.indexOf('}', start);
  const match =
    close < 0 ? null : /^([A-Za-z_]\w*)(?::([-+])([^]*))?$/.exec(word.slice(start + 1, close));
  if (match === null) throw wrong(`"${word.slice(start - 1)}" is no variable`);
  const [, name = '', operator, other = ''] = match;
  const value = valueOf(name) ?? '';
  const end = close + 1;
  if (operator === '-')
    return { value: value === '' ? expandWord(other, valueOf, wrong) : value, end };
  if (operator === '+')
    return { value: value === '' ? '' : expandWord(other, valueOf, wrong), end };
  return { value, end };
}
