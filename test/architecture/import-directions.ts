/**
 * Who may import whom: the module table of ARCHITECTURE.md, and the check of the sources against
 * it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import ts from 'typescript';

/** The modules of src/, each with the other modules and npm packages it may import. */
export const modules: Record<string, { imports: readonly string[]; packages?: readonly string[] }> =
  {
    base: { imports: [] },
    sys: { imports: ['base'] },
    vfs: { imports: ['base'] },
    host: { imports: ['sys', 'base'] },
    overlay: { imports: ['host', 'sys', 'base'], packages: ['lru-cache'] },
    union: { imports: ['overlay', 'vfs', 'host', 'sys', 'base'], packages: ['lru-cache'] },
    fuse: { imports: ['vfs', 'host', 'sys', 'base'], packages: ['fuse-native', 'lru-cache'] },
    archive: { imports: ['overlay', 'sys', 'base'] },
    graphdriver: { imports: ['archive', 'overlay', 'host', 'sys', 'base'] },
    layer: { imports: ['graphdriver', 'archive', 'overlay', 'host', 'sys', 'base'] },
    image: { imports: ['layer', 'archive', 'sys', 'base'], packages: ['tar-stream'] },
    distribution: {
      imports: ['image', 'layer', 'base'],
      packages: ['p-limit', 'p-retry', 'smol-toml', 'undici'],
    },
    runtime: { imports: ['host', 'sys', 'base'] },
    mount: { imports: ['fuse', 'union', 'overlay', 'vfs', 'host', 'sys', 'base'] },
    engine: {
      imports: [
        'mount',
        'runtime',
        'distribution',
        'image',
        'layer',
        'graphdriver',
        'archive',
        'fuse',
        'union',
        'overlay',
        'vfs',
        'host',
        'sys',
        'base',
      ],
      packages: ['unique-names-generator'],
    },
    cli: {
      imports: ['engine', 'mount', 'fuse', 'union', 'overlay', 'vfs', 'sys', 'base'],
      packages: ['commander', 'cli-progress'],
    },
    /** src/index.ts, the npm package's face. */
    index: { imports: ['engine', 'mount', 'fuse', 'union', 'vfs', 'sys', 'base'] },
  };

/**
 * One sentence for each import under `root`/src that the table does not allow, with file and line.
 */
export function offendingImports(root: string): string[] {
  const source = join(root, 'src');
  const offences: string[] = [];
  for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (file.endsWith('.ts'))
      offences.push(...offencesOf(file, readFileSync(join(source, file), 'utf8')));
  }
  return offences.sort();
}

/** The same for one file: its path relative to src/, and its text. */
export function offencesOf(file: string, text: string): string[] {
  const module = moduleOf(file);
  const rule = modules[module];
  if (rule === undefined)
    return [
      `src/${file}: src/${module} is not in the table of modules (test/architecture/import-directions.ts)`,
    ];
  const offences: string[] = [];
  for (const { specifier, line } of importsOf(file, text)) {
    const problem = problemWith(specifier, file, module, rule);
    if (problem !== undefined)
      offences.push(`src/${file}:${line}: imports '${specifier}': ${problem}`);
  }
  return offences;
}

function problemWith(
  specifier: string,
  file: string,
  module: string,
  rule: { imports: readonly string[]; packages?: readonly string[] },
): string | undefined {
  if (specifier.startsWith('.')) {
    const target = normalize(join(dirname(file), specifier));
    if (target.startsWith('..')) {
      // The addon and package.json lie outside src/.
      return module === 'sys' || target.endsWith('package.json')
        ? undefined
        : 'it lies outside src/';
    }
    const other = moduleOf(target);
    const allowed = other === module || rule.imports.includes(other);
    return allowed
      ? undefined
      : `${module} may import ${rule.imports.join(', ') || 'no other module'}, not ${other}`;
  }
  if (specifier.startsWith('node:')) return undefined;
  if (builtinModules.includes(specifier)) return `write 'node:${specifier}'`;
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  return rule.packages?.includes(name) ? undefined : `${module} may not use the package ${name}`;
}

/**
 * Files under `root`/src that import each other in a circle, types included: one sentence a circle.
 */
export function importCircles(root: string): string[] {
  const source = join(root, 'src');
  const imported = new Map<string, string[]>();
  for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue;
    const text = readFileSync(join(source, file), 'utf8');
    const targets = importsOf(file, text).map(({ specifier }) => specifier);
    imported.set(
      file,
      targets
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) => normalize(join(dirname(file), specifier)).replace(/\.js$/, '.ts')),
    );
  }
  return circlesIn(imported);
}

/** The same of a graph: from each file, those that it imports. */
export function circlesIn(imported: ReadonlyMap<string, readonly string[]>): string[] {
  const reachable = new Map<string, Set<string>>();
  for (const file of imported.keys()) {
    const reached = new Set<string>();
    const next = [file];
    for (let at = next.pop(); at !== undefined; at = next.pop())
      for (const target of imported.get(at) ?? [])
        if (imported.has(target) && !reached.has(target)) {
          reached.add(target);
          next.push(target);
        }
    reachable.set(file, reached);
  }
  const circles = new Set<string>();
  for (const [file, reached] of reachable) {
    if (!reached.has(file)) continue;
    const others = [...reached].filter((other) => reachable.get(other)?.has(file) === true);
    circles.add(`${others.sort().join(', ')} import each other`);
  }
  return [...circles];
}

/** `union/copy-up.ts` is of `union`, `index.ts` of `index`. */
function moduleOf(file: string): string {
  const [first = ''] = file.split('/');
  return first.replace(/\.[jt]s$/, '');
}

/** Static, dynamic and type-only imports, re-exports, and `require` calls. */
function importsOf(file: string, text: string): { specifier: string; line: number }[] {
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, false, ts.ScriptKind.TS);
  const found: { specifier: string; line: number }[] = [];
  const add = (node: ts.Node | undefined): void => {
    if (node === undefined || !ts.isStringLiteralLike(node)) return;
    found.push({
      specifier: node.text,
      line: tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1,
    });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
      add(node.argument.literal);
    else if (ts.isCallExpression(node)) {
      const callee = node.expression;
      if (
        callee.kind === ts.SyntaxKind.ImportKeyword ||
        (ts.isIdentifier(callee) && callee.text === 'require')
      )
        add(node.arguments[0]);
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return found;
}
