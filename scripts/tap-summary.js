// tap-summary [--failures] FILE.tap...: one line, `N passed, N failed[, N skipped]`, over the leaves of the TAP documents; before
// it, with --failures, what failed. Exits 1 if anything did.
//
// A leaf is a test point without a subtest of its own. A subtest's own point counts only when it failed and nothing inside it did
// (a timeout, a plan not fulfilled, a process that died). A file that is missing or not complete counts as one failure.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Parser } from 'tap-parser';

const { values, positionals: files } = parseArgs({ allowPositionals: true, options: { failures: { type: 'boolean' } } });
const total = { passed: 0, failed: 0, skipped: 0 };

function failure(name, detail) {
  total.failed++;
  if (!values.failures) return;
  console.log(`\nnot ok: ${name}`);
  if (detail) console.log(detail.replace(/^/gm, '    '));
}

function detailOf(diagnostics) {
  if (!diagnostics) return '';
  const { diff, at, source, stack, ...rest } = diagnostics;
  const place = at?.fileName ? `at ${at.fileName}:${at.lineNumber}` : (stack ?? '');
  return [place, diff, Object.keys(rest).length > 0 ? JSON.stringify(rest, undefined, 2) : '', source].filter(Boolean).join('\n').trimEnd();
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
      if (failed && inside.failed === 0) failure([...level.names, point.name].join(' > '), detailOf(point.diag));
    } else if (skipped) total.skipped++;
    else if (failed) failure([...level.names, point.name].join(' > '), detailOf(point.diag));
    else total.passed++;
  });
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
  const parser = new Parser();
  count(parser, level);
  parser.on('complete', (results) => {
    if (!results.ok && level.failed === 0) failure(path, 'The test run was not completed.');
  });
  parser.end(text);
}

if (values.failures) console.log('');
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
process.exitCode = total.failed > 0 ? 1 : 0;
