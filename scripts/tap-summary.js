// tap-summary [--failures] FILE.tap...: one line, `N passed, N failed[, N skipped]`, over the
// leaves of the TAP documents; before it the figures that tests have told, and before those, with
// --failures, what failed and what was skipped, with its reason. Exits 1 if anything did.
//
// A figure is a comment `# figure: N WHAT` at any depth; those of the same WHAT are added up.
//
// A leaf is a test point without a subtest of its own. A subtest's own point counts only when it
// failed and nothing inside it did (a timeout, a plan not fulfilled, a process that died). A file
// that is missing or not complete counts as one failure.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Parser } from 'tap-parser';

const { values, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { failures: { type: 'boolean' } },
});
const total = { passed: 0, failed: 0, skipped: 0 };
const figures = new Map();

function failure(name, detail) {
  total.failed++;
  if (!values.failures) return;
  console.log(`\nnot ok: ${name}`);
  if (detail) console.log(detail.replace(/^/gm, '    '));
}

function skip(name, reason) {
  total.skipped++;
  if (values.failures)
    console.log(`\nskipped: ${name}: ${reason === true ? 'no reason given' : reason}`);
}

function detailOf(diagnostics) {
  if (!diagnostics) return '';
  const { diff, at, source, stack, ...rest } = diagnostics;
  const place = at?.fileName ? `at ${at.fileName}:${at.lineNumber}` : (stack ?? '');
  return [
    place,
    diff,
    Object.keys(rest).length > 0 ? JSON.stringify(rest, undefined, 2) : '',
    source,
  ]
    .filter(Boolean)
    .join('\n')
    .trimEnd();
}

/** Counts what `parser` parses into `total`; `level.failed` tells how much under it failed. */
function count(parser, level) {
  let child;
  parser.on('child', (subtest) => {
    child = { failed: 0, names: [...level.names, subtest.name] };
    count(subtest, child);
  });
  parser.on('assert', (point) => {
    const inside = child;
    child = undefined;
    const skipped = Boolean(point.skip || point.todo);
    const failed = !point.ok && !skipped;
    if (failed || inside?.failed > 0) level.failed++;
    if (inside !== undefined) {
      if (failed && inside.failed === 0)
        failure([...level.names, point.name].join(' > '), detailOf(point.diag));
    } else if (skipped) skip([...level.names, point.name].join(' > '), point.skip || point.todo);
    else if (failed) failure([...level.names, point.name].join(' > '), detailOf(point.diag));
    else total.passed++;
  });
}

/** Of a run that broke off, too: read from the lines themselves. */
function collectFigures(text) {
  for (const [, count, what] of text.matchAll(/^\s*# figure: (\d+) (\S.*?)\s*$/gm)) {
    figures.set(what, (figures.get(what) ?? 0) + Number(count));
  }
}

for (const path of files) {
  const level = { failed: 0, names: [] };
  let text;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    failure(path, error.message);
    continue;
  }
  collectFigures(text);
  const parser = new Parser();
  count(parser, level);
  parser.on('complete', (results) => {
    if (!results.ok && level.failed === 0) failure(path, 'The test run was not completed.');
  });
  parser.end(text);
}

if (values.failures || figures.size > 0) console.log('');
const width = Math.max(...[...figures.values()].map((count) => String(count).length));
for (const [what, count] of [...figures].sort(([a], [b]) => (a < b ? -1 : 1)))
  console.log(`${String(count).padStart(width)} ${what}`);
console.log(
  `${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`,
);
process.exitCode = total.failed > 0 ? 1 : 0;
