/** Cuts a template into text and the tokens of its actions. */
import { UsageError } from '../../base/error.js';
import type { Literal } from './syntax.js';

export type Token =
  | {
      readonly kind: 'field';
      readonly name: string;
      /** No space before it: it belongs to what precedes. */ readonly joined: boolean;
    }
  | { readonly kind: 'dot' }
  | { readonly kind: 'variable'; readonly name: string }
  | { readonly kind: 'word'; readonly name: string }
  | { readonly kind: 'literal'; readonly value: Literal }
  | { readonly kind: 'mark'; readonly mark: '|' | '(' | ')' | ',' | ':=' | '=' };

export type Piece =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'action'; readonly tokens: readonly Token[] };

export function templateError(what: string): UsageError {
  return new UsageError(`The template cannot be used: ${what}.`);
}

/**
 * `-` and white space inside an action's braces take away the white space of the text beside it.
 */
const TRIM_LEFT = /^-[ \t\r\n]/;
const SPACE = /[ \t\r\n]*/y;
const COMMENT = /(-[ \t\r\n]+)?\/\*[^]*?\*\/([ \t\r\n]+-)?}}/y;

export function scan(source: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let trimNext = false;
  while (at < source.length) {
    const open = source.indexOf('{{', at);
    const end = open < 0 ? source.length : open;
    let text = source.slice(at, end);
    if (trimNext) text = text.trimStart();
    if (open >= 0 && TRIM_LEFT.test(source.slice(open + 2, open + 4))) text = text.trimEnd();
    if (text !== '') pieces.push({ kind: 'text', text });
    if (open < 0) break;

    COMMENT.lastIndex = open + 2;
    const comment = COMMENT.exec(source);
    if (comment !== null) {
      trimNext = comment[2] !== undefined;
      at = COMMENT.lastIndex;
      continue;
    }
    const action = scanAction(
      source,
      open + (TRIM_LEFT.test(source.slice(open + 2, open + 4)) ? 3 : 2),
    );
    pieces.push({ kind: 'action', tokens: action.tokens });
    trimNext = action.trimsNext;
    at = action.end;
  }
  return pieces;
}

const patterns: readonly (readonly [RegExp, (text: string, joined: boolean) => Token])[] = [
  [/"(?:[^"\\\n]|\\.)*"/y, (text) => ({ kind: 'literal', value: unquoted(text) })],
  [/`[^`]*`/y, (text) => ({ kind: 'literal', value: text.slice(1, -1) })],
  [
    /'(?:[^'\\\n]|\\.)+'/y,
    (text) => ({ kind: 'literal', value: unquoted(`"${text.slice(1, -1)}"`).codePointAt(0) ?? 0 }),
  ],
  [
    /[-+]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)/y,
    (text) => ({ kind: 'literal', value: Number(text) }),
  ],
  [
    /\.[\p{L}_][\p{L}\p{N}_]*/uy,
    (text, joined) => ({ kind: 'field', name: text.slice(1), joined }),
  ],
  [/\./y, () => ({ kind: 'dot' })],
  [/\$[\p{L}\p{N}_]*/uy, (text) => ({ kind: 'variable', name: text })],
  [/[\p{L}_][\p{L}\p{N}_]*/uy, word],
  [/:=|[|(),=]/y, (text) => ({ kind: 'mark', mark: text as '|' })],
];

function word(name: string): Token {
  switch (name) {
    case 'true':
      return { kind: 'literal', value: true };
    case 'false':
      return { kind: 'literal', value: false };
    case 'nil':
      return { kind: 'literal', value: null };
    default:
      return { kind: 'word', name };
  }
}

function scanAction(
  source: string,
  start: number,
): { tokens: Token[]; end: number; trimsNext: boolean } {
  const tokens: Token[] = [];
  let at = start;
  for (;;) {
    SPACE.lastIndex = at;
    const space = SPACE.exec(source)?.[0] ?? '';
    const joined = space === '' && tokens.length > 0;
    at += space.length;
    if (source.startsWith('}}', at)) return { tokens, end: at + 2, trimsNext: false };
    if (space !== '' && source.startsWith('-}}', at))
      return { tokens, end: at + 3, trimsNext: true };
    if (at >= source.length) throw templateError('an action that begins with {{ has no }}');

    const found = patterns.find(([pattern]) => {
      pattern.lastIndex = at;
      return pattern.test(source);
    });
    if (found === undefined)
      throw templateError(`'${source.slice(at, at + 10)}' is not understood within {{ }}`);
    const [pattern, tokenOf] = found;
    tokens.push(tokenOf(source.slice(at, pattern.lastIndex), joined));
    at = pattern.lastIndex;
  }
}

const escapes: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** What a Go string literal in double quotes stands for. */
function unquoted(literal: string): string {
  return literal
    .slice(1, -1)
    .replace(
      /\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|[^])/g,
      (_, escape: string) =>
        /^[xuU]/.test(escape) && escape.length > 1
          ? String.fromCodePoint(Math.min(parseInt(escape.slice(1), 16), 0x10ffff))
          : /^[0-7]{3}$/.test(escape)
            ? String.fromCharCode(parseInt(escape, 8))
            : (escapes[escape] ?? escape),
    );
}
