// check-columns: prints each line of prose, shell, C or C++ that is longer than 100 characters, and
// exits 1 if there is one. TypeScript and JavaScript are ESLint's (max-len).
//
// A line may be longer where it cannot be broken: in a Markdown table or code block, with a link,
// with a quoted literal, or as a single word.
import { readdirSync, readFileSync, statSync } from 'node:fs';

const COLUMNS = 100;

function* longLines(path) {
  const markdown = path.endsWith('.md');
  let fenced = false;
  let number = 0;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    number++;
    if (markdown && /^\s*(```|~~~)/.test(line)) fenced = !fenced;
    if ([...line].length <= COLUMNS || fenced) continue;
    const breakable = markdown
      ? !/^\s*\||\]\(|\bhttps?:\/\//.test(line)
      : [...line.replace(/'[^']*'|"(\\.|[^"\\])*"|`[^`]*`/g, '""')].length > COLUMNS &&
        !/\bhttps?:\/\//.test(line);
    if (breakable && /\S\s+\S/.test(line.slice(0, COLUMNS).trim())) yield { number, line };
  }
}

const paths = readdirSync('.', { encoding: 'utf8' })
  .filter((name) => !['node_modules', 'dist', 'build', '.git'].includes(name))
  .flatMap((name) =>
    statSync(name).isDirectory()
      ? readdirSync(name, { encoding: 'utf8', recursive: true }).map((path) => `${name}/${path}`)
      : [name],
  )
  // Programs, the Makefile and .npmrc have nothing after a dot.
  .filter((path) => /\.(md|c|h|cc|gyp|sh)$|(^|\/)\.?[\w-]+$/.test(path) && path !== 'LICENSE')
  .filter((path) => statSync(path).isFile());
for (const path of paths) {
  for (const { number, line } of longLines(path)) {
    console.log(`${path}:${number}: more than ${COLUMNS} columns: ${line.trim().slice(0, 60)}...`);
    process.exitCode = 1;
  }
}
