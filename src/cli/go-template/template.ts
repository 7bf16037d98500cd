/**
 * Go's text/template, as far as people use it after docker's `--format`: fields, variables,
 * pipelines, if, with, range, define, block, template, trim markers and comments, the functions of
 * functions.ts.
 *
 * No npm package does this and is kept up (looked for in 2026: `go-template` and `gotpl` are
 * something else), and the language is small. Left out: methods, complex numbers, `call`.
 */
import { functions as standard, type Functions } from './functions.js';
import { parseTemplate } from './parse.js';
import { templateError } from './scan.js';
import type { Branch, Command, Node, Operand, Pipeline, Template } from './syntax.js';
import { goString, isStruct, isTrue, sortedEntries } from './values.js';

export type CompiledTemplate = (data: unknown) => string;

/**
 * `functions` replace those of the same name. Throws UsageError, as does what it returns, where
 * data and template do not fit.
 */
export function compileTemplate(source: string, functions: Functions = {}): CompiledTemplate {
  const template = parseTemplate(source);
  return (data) => new Execution(template, { ...standard, ...functions }).run(data);
}

/** More templates within templates than anybody nests. */
const MAX_DEPTH = 200;
/** Lists within one another, over all templates that are being executed: each is on the stack. */
const MAX_NESTING = 1000;

type Flow = 'next' | 'break' | 'continue';

interface Variable {
  readonly name: string;
  value: unknown;
}

class Execution {
  readonly #template: Template;
  readonly #functions: Functions;
  /** Innermost last. */
  #variables: Variable[] = [];
  #depth = 0;
  #nesting = 0;
  #output = '';

  constructor(template: Template, functions: Functions) {
    this.#template = template;
    this.#functions = functions;
  }

  run(data: unknown): string {
    this.#variables = [{ name: '$', value: data }];
    this.#walk(this.#template.body, data);
    return this.#output;
  }

  #walk(nodes: readonly Node[], dot: unknown): Flow {
    if (++this.#nesting > MAX_NESTING)
      throw templateError(`more than ${MAX_NESTING} actions stand within one another`);
    let flow: Flow = 'next';
    for (const node of nodes) {
      flow = this.#step(node, dot);
      if (flow !== 'next') break;
    }
    this.#nesting--;
    return flow;
  }

  #step(node: Node, dot: unknown): Flow {
    switch (node.kind) {
      case 'text':
        this.#output += node.text;
        return 'next';
      case 'action': {
        const value = this.#pipeline(node.pipeline, dot);
        if (node.pipeline.variables.length === 0)
          this.#output += value === undefined || value === null ? '<no value>' : goString(value);
        return 'next';
      }
      case 'if':
      case 'with':
        return this.#scoped(() => this.#choose(node, dot));
      case 'range':
        return this.#scoped(() => this.#range(node, dot));
      case 'template':
        this.#call(
          node.name,
          node.pipeline === undefined ? undefined : this.#pipeline(node.pipeline, dot),
        );
        return 'next';
      case 'break':
      case 'continue':
        return node.kind;
    }
  }

  /** The first branch of a chain that is taken, or what its last one has for `else`. */
  #choose(first: Branch, dot: unknown): Flow {
    for (let branch = first; ;) {
      const value = this.#pipeline(branch.pipeline, dot);
      if (isTrue(value)) return this.#walk(branch.body, branch.kind === 'with' ? value : dot);
      const [next, ...more] = branch.otherwise;
      if (more.length > 0 || (next?.kind !== 'if' && next?.kind !== 'with'))
        return this.#walk(branch.otherwise, dot);
      branch = next;
    }
  }

  /** What is declared within is forgotten after. */
  #scoped(body: () => Flow): Flow {
    const length = this.#variables.length;
    try {
      return body();
    } finally {
      this.#variables.length = length;
    }
  }

  #range(node: Branch, dot: unknown): Flow {
    const { variables, assigns, commands } = node.pipeline;
    const entries = entriesOf(this.#pipeline({ variables: [], assigns: false, commands }, dot));
    if (entries.length === 0) return this.#walk(node.otherwise, dot);
    for (const [key, value] of entries) {
      const flow = this.#scoped(() => {
        // Of two variables the first is the index or key.
        variables.forEach((name, i) => {
          this.#set(name, variables.length > 1 && i === 0 ? key : value, assigns);
        });
        return this.#walk(node.body, value);
      });
      if (flow === 'break') break;
    }
    return 'next';
  }

  #call(name: string, data: unknown): void {
    const body = this.#template.named.get(name);
    if (body === undefined) throw templateError(`there is no template "${name}"`);
    if (++this.#depth > MAX_DEPTH)
      throw templateError(`template "${name}" calls itself without end`);
    const outer = this.#variables;
    this.#variables = [{ name: '$', value: data }];
    this.#walk(body, data);
    this.#variables = outer;
    this.#depth--;
  }

  #set(name: string, value: unknown, assigns: boolean): void {
    if (!assigns) this.#variables.push({ name, value });
    else this.#variable(name).value = value;
  }

  #variable(name: string): Variable {
    const variable = this.#variables.findLast((candidate) => candidate.name === name);
    if (variable === undefined) throw templateError(`there is no variable ${name}`);
    return variable;
  }

  #pipeline({ variables, assigns, commands }: Pipeline, dot: unknown): unknown {
    let value: unknown;
    commands.forEach((command, i) => {
      value = this.#command(command, dot, i > 0 ? [value] : []);
    });
    for (const name of variables) this.#set(name, value, assigns);
    return value;
  }

  #command([first, ...rest]: Command, dot: unknown, piped: readonly unknown[]): unknown {
    if (first.kind === 'function')
      return this.#apply(first.name, [
        ...rest.map((operand) => this.#operand(operand, dot)),
        ...piped,
      ]);
    if (rest.length + piped.length > 0) throw templateError('only a function takes arguments');
    return this.#operand(first, dot);
  }

  #apply(name: string, values: readonly unknown[]): unknown {
    const apply = Object.hasOwn(this.#functions, name) ? this.#functions[name] : undefined;
    if (apply === undefined) throw templateError(`there is no function "${name}"`);
    if (values.length < apply.length)
      throw templateError(`${name} wants ${apply.length} values, not ${values.length}`);
    return apply(...values);
  }

  #operand(operand: Operand, dot: unknown): unknown {
    switch (operand.kind) {
      case 'literal':
        return operand.value;
      case 'function':
        return this.#apply(operand.name, []);
      case 'dot':
        return operand.fields.reduce(fieldOf, dot);
      case 'variable':
        return operand.fields.reduce(fieldOf, this.#variable(operand.name).value);
      case 'pipeline':
        return operand.fields.reduce(fieldOf, this.#pipeline(operand.pipeline, dot));
    }
  }
}

function fieldOf(value: unknown, name: string): unknown {
  if (value instanceof Map) return (value as ReadonlyMap<unknown, unknown>).get(name);
  if (isStruct(value) && Object.hasOwn(value, name)) return value[name];
  if (value === null || value === undefined)
    throw templateError(`.${name} is asked of something that is not there`);
  throw templateError(
    isStruct(value)
      ? `there is no .${name}, only .${Object.keys(value).join(' .')}`
      : `there is no .${name} in ${goString(value)}`,
  );
}

function entriesOf(value: unknown): readonly (readonly [unknown, unknown])[] {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value)) return value.map((entry: unknown, i) => [i, entry] as const);
  if (value instanceof Map) return sortedEntries(value);
  throw templateError(`range goes over a list or a map, not ${goString(value)}`);
}
