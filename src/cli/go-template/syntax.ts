/** The tree of a parsed template. Names follow Go's text/template/parse. */

export type Literal = string | number | boolean | null;

/**
 * What a field chain starts from. `fields` follow with dots: `.Config.Env`, `$x.Name`,
 * `(index .Mounts 0).Source`.
 */
export type Operand =
  | { readonly kind: 'dot'; readonly fields: readonly string[] }
  | { readonly kind: 'variable'; readonly name: string; readonly fields: readonly string[] }
  | { readonly kind: 'pipeline'; readonly pipeline: Pipeline; readonly fields: readonly string[] }
  | { readonly kind: 'literal'; readonly value: Literal }
  | { readonly kind: 'function'; readonly name: string };

/** One value, or a function with its arguments: `index .Env 0`. */
export type Command = readonly [Operand, ...Operand[]];

/** Commands joined by `|`: each gets the value of the one before as its last argument. */
export interface Pipeline {
  /** `$x :=`, `$i, $x :=` (declared), or `$x =` (assigned). With their `$`. */
  readonly variables: readonly string[];
  readonly assigns: boolean;
  readonly commands: readonly Command[];
}

export type BranchKind = 'if' | 'with' | 'range';

export interface Branch {
  readonly kind: BranchKind;
  readonly pipeline: Pipeline;
  readonly body: readonly Node[];
  /** Of `else`. A chain of `else if` may be of any length: one branch alone in each. */
  readonly otherwise: readonly Node[];
}

export type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'action'; readonly pipeline: Pipeline }
  | Branch
  | { readonly kind: 'template'; readonly name: string; readonly pipeline: Pipeline | undefined }
  | { readonly kind: 'break' | 'continue' };

export interface Template {
  readonly body: readonly Node[];
  /** Of `define` and `block`. */
  readonly named: ReadonlyMap<string, readonly Node[]>;
}
