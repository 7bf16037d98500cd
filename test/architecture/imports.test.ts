import { readFileSync } from 'node:fs';
import t from 'tap';
import { root } from '../support/root.js';
import {
  circlesIn,
  importCircles,
  modules,
  offencesOf,
  offendingImports,
} from './import-directions.js';

t.test('every import in src/ goes in an allowed direction', (t) => {
  t.equal(offendingImports(root).join('\n'), '');
  t.end();
});

t.test("ARCHITECTURE.md's table is this one", (t) => {
  const rows = readFileSync(`${root}/ARCHITECTURE.md`, 'utf8').matchAll(
    /^\| `src\/(\w+)(?:\.ts)?` \|.*\| ([^|]*) \|$/gm,
  );
  const written = Object.fromEntries(
    Array.from(rows, ([, name = '', imports]) => [name, imports] as const),
  );
  const held = Object.fromEntries(
    Object.entries(modules).map(([name, { imports }]) => [name, imports.join(', ') || 'node only']),
  );
  t.same(written, held);
  t.end();
});

t.test('no files import each other in a circle', (t) => {
  t.same(importCircles(root), []);
  const circles = circlesIn(
    new Map([
      ['a.ts', ['b.ts']],
      ['b.ts', ['c.ts']],
      ['c.ts', ['b.ts', 'd.ts']],
      ['d.ts', []],
      ['e.ts', ['e.ts']],
    ]),
  );
  t.same(circles, ['b.ts, c.ts import each other', 'e.ts import each other']);
  t.end();
});

t.test('the check sees each form of import', (t) => {
  t.match(offencesOf('union/a.ts', "import { x } from '../fuse/b.js';"), [
    /src\/union\/a.ts:1: .*union may import overlay, vfs, host, sys, base, not fuse/,
  ]);
  t.match(offencesOf('fuse/a.ts', "\nimport type { x } from '../union/b.js';"), [
    /src\/fuse\/a.ts:2: /,
  ]);
  t.match(offencesOf('base/a.ts', "export * from '../sys/b.js';"), [
    /base may import no other module, not sys/,
  ]);
  t.match(offencesOf('vfs/a.ts', "const x = await import('../sys/b.js');"), [/not sys/]);
  t.match(offencesOf('vfs/a.ts', "let x: import('../sys/b.js').X;"), [/not sys/]);
  t.match(offencesOf('vfs/a.ts', "const x = require('../../native/b.node');"), [/outside src/]);
  t.match(offencesOf('union/a.ts', "import tar from 'tar-stream';"), [
    /may not use the package tar-stream/,
  ]);
  t.match(offencesOf('union/a.ts', "import fs from 'fs';"), [/node:fs/]);
  t.match(offencesOf('misc/a.ts', ''), [/not in the table/]);
  t.same(
    offencesOf(
      'union/a.ts',
      "import '../vfs/b.js'; import './c.js'; import { LRUCache } from 'lru-cache'; import 'node:fs';",
    ),
    [],
  );
  t.same(offencesOf('sys/a.ts', "const x = require('../../native/build/Release/plyfs.node');"), []);
  t.end();
});
