/** From the text of a template to its tree. */
import { scan, templateError, type Piece, type Token } from './scan.js';
import type { Branch, BranchKind, Command, Node, Operand, Pipeline, Template } from './syntax.js';

/** Throws UsageError. */
export function parseTemplate(source: string): Template {
  return new Parser(scan(source)).template();
}

/** What ended a list of nodes: `end`, or `else` with the rest of its action. */
type ListEnd =
  | { readonly by: 'end' }
  | { readonly by: 'else'; readonly rest: TokenReader }
  | { readonly by: 'source' };

/**
 * Actions and parentheses within one another. Templates come from the command line and from
 * configuration files, and what reads and executes them calls itself.
 */
const MAX_NESTING = 100;

class Parser {
  readonly #pieces: readonly Piece[];
  readonly #named = new Map<string, readonly Node[]>();
  #at = 0;
  /** How many `range` are open: `break` and `continue` belong to one. */
  #ranges = 0;
  /** How many lists are open. */
  #nesting = 0;

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
  }

  template(): Template {
    const { nodes, end } = this.#list();
    if (end.by !== 'source') throw templateError(`there is an {{${end.by}}} too many`);
    return { body: nodes, named: this.#named };
  }

  #list(): { nodes: Node[]; end: ListEnd } {
    if (++this.#nesting > MAX_NESTING) throw nestedTooDeeply('actions');
    const list = this.#nodes();
    this.#nesting--;
    return list;
  }

  #nodes(): { nodes: Node[]; end: ListEnd } {
    const nodes: Node[] = [];
    for (;;) {
      const piece = this.#pieces[this.#at++];
      if (piece === undefined) return { nodes, end: { by: 'source' } };
      if (piece.kind === 'text') {
        nodes.push(piece);
        continue;
      }
      const tokens = new TokenReader(piece.tokens);
      const word = tokens.keyword();
      switch (word) {
        case 'end':
          tokens.finish();
          return { nodes, end: { by: 'end' } };
        case 'else':
          return { nodes, end: { by: 'else', rest: tokens } };
        case 'if':
        case 'with':
        case 'range':
          nodes.push(this.#branch(word, tokens));
          break;
        case 'define':
          this.#define(tokens.text(), tokens);
          break;
        case 'block': {
          const name = tokens.text();
          const pipeline = tokens.pipeline();
          this.#define(name, tokens);
          nodes.push({ kind: 'template', name, pipeline });
          break;
        }
        case 'template': {
          const name = tokens.text();
          nodes.push({
            kind: 'template',
            name,
            pipeline: tokens.done() ? undefined : tokens.pipeline(),
          });
          tokens.finish();
          break;
        }
        case 'break':
        case 'continue':
          if (this.#ranges === 0) throw templateError(`{{${word}}} stands outside {{range}}`);
          tokens.finish();
          nodes.push({ kind: word });
          break;
        case undefined:
          nodes.push({ kind: 'action', pipeline: tokens.pipeline() });
          tokens.finish();
      }
    }
  }

  #branch(first: BranchKind, tokens: TokenReader): Node {
    const chain: Omit<Branch, 'otherwise'>[] = [];
    /** Of the last. */
    let otherwise: readonly Node[] = [];
    for (let kind = first, rest = tokens; ;) {
      const pipeline = rest.pipeline();
      rest.finish();
      if (kind === 'range') this.#ranges++;
      const { nodes: body, end } = this.#list();
      if (kind === 'range') this.#ranges--;
      chain.push({ kind, pipeline, body });
      if (end.by === 'source') throw templateError(`{{${kind}}} has no {{end}}`);
      if (end.by === 'end') break;
      // `{{else if}}` is an `if` within the `else`, which shares its `end`.
      const next = end.rest.keyword();
      if (next !== 'if' && next !== 'with') {
        end.rest.finish();
        otherwise = this.#listToEnd('else');
        break;
      }
      [kind, rest] = [next, end.rest];
    }
    let branch: Branch = { ...chain.pop()!, otherwise };
    for (const outer of chain.reverse()) branch = { ...outer, otherwise: [branch] };
    return branch;
  }

  #define(name: string, tokens: TokenReader): void {
    tokens.finish();
    this.#named.set(name, this.#listToEnd('define'));
  }

  #listToEnd(of: string): Node[] {
    const { nodes, end } = this.#list();
    if (end.by !== 'end') throw templateError(`{{${of}}} has no {{end}}`);
    return nodes;
  }
}

function nestedTooDeeply(what: string): Error {
  return templateError(`more than ${MAX_NESTING} ${what} stand within one another`);
}

const keywords = [
  'if',
  'else',
  'end',
  'range',
  'with',
  'define',
  'block',
  'template',
  'break',
  'continue',
] as const;

/** The tokens of one action. */
class TokenReader {
  readonly #tokens: readonly Token[];
  #at = 0;
  /** How many parentheses are open. */
  #nesting = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  done(): boolean {
    return this.#at >= this.#tokens.length;
  }

  finish(): void {
    const token = this.#tokens[this.#at];
    if (token !== undefined) throw templateError(`'${shown(token)}' does not belong there`);
  }

  /** A keyword where one may stand, which is first. */
  keyword(): (typeof keywords)[number] | undefined {
    const token = this.#tokens[this.#at];
    const word =
      token?.kind === 'word' ? keywords.find((keyword) => keyword === token.name) : undefined;
    if (word !== undefined) this.#at++;
    return word;
  }

  text(): string {
    const token = this.#tokens[this.#at++];
    if (token?.kind !== 'literal' || typeof token.value !== 'string')
      throw templateError('a template has a name in quotes');
    return token.value;
  }

  pipeline(): Pipeline {
    const { variables, assigns } = this.#variables();
    const commands = [this.#command()];
    while (this.#mark('|')) commands.push(this.#command());
    return { variables, assigns, commands };
  }

  #variables(): { variables: string[]; assigns: boolean } {
    const start = this.#at;
    const variables: string[] = [];
    for (
      let token = this.#tokens[this.#at];
      token?.kind === 'variable';
      token = this.#tokens[this.#at]
    ) {
      variables.push(token.name);
      this.#at++;
      if (this.#mark(':=')) return { variables, assigns: false };
      if (this.#mark('=')) return { variables, assigns: true };
      if (!this.#mark(',')) break;
    }
    // They are used, then, not set.
    this.#at = start;
    return { variables: [], assigns: false };
  }

  #command(): Command {
    const first = this.#operand();
    if (first === undefined)
      throw templateError(
        this.done() ? 'a value is missing' : `'${shown(this.#tokens[this.#at]!)}' is no value`,
      );
    const operands: [Operand, ...Operand[]] = [first];
    for (let operand = this.#operand(); operand !== undefined; operand = this.#operand())
      operands.push(operand);
    return operands;
  }

  #operand(): Operand | undefined {
    const token = this.#tokens[this.#at];
    switch (token?.kind) {
      case 'dot':
        this.#at++;
        return { kind: 'dot', fields: [] };
      case 'field':
        this.#at++;
        return { kind: 'dot', fields: [token.name, ...this.#fields()] };
      case 'variable':
        this.#at++;
        return { kind: 'variable', name: token.name, fields: this.#fields() };
      case 'literal':
        this.#at++;
        return token;
      case 'word':
        this.#at++;
        return { kind: 'function', name: token.name };
      case 'mark': {
        if (token.mark !== '(') return undefined;
        this.#at++;
        if (++this.#nesting > MAX_NESTING) throw nestedTooDeeply('parentheses');
        const pipeline = this.pipeline();
        this.#nesting--;
        if (!this.#mark(')')) throw templateError('a ( has no )');
        return { kind: 'pipeline', pipeline, fields: this.#fields() };
      }
      case undefined:
        return undefined;
    }
  }

  /** The `.Name`s that follow without a space. */
  #fields(): string[] {
    const fields: string[] = [];
    for (
      let token = this.#tokens[this.#at];
      token?.kind === 'field' && token.joined;
      token = this.#tokens[++this.#at]
    )
      fields.push(token.name);
    return fields;
  }

  #mark(mark: string): boolean {
    const token = this.#tokens[this.#at];
    if (token?.kind !== 'mark' || token.mark !== mark) return false;
    this.#at++;
    return true;
  }
}

function shown(token: Token): string {
  switch (token.kind) {
    case 'dot':
      return '.';
    case 'field':
      return `.${token.name}`;
    case 'literal':
      return JSON.stringify(token.value);
    case 'mark':
      return token.mark;
    case 'variable':
    case 'word':
      return token.name;
  }
}
