/**
 * Tars made to do harm: each gives an error with its code or a layer that is safe, and in no case
 * anything outside of the layer's directory. The layer lies in a directory beside things that must
 * stay as they are.
 */
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { applyLayer, type ApplyOptions } from '../../src/archive/apply-layer.js';
import { LayerReader } from '../../src/archive/layer-reader.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';
import { endMarker, header, inPieces, longName, tar, type Fields } from './tar-builder.js';

t.setTimeout(180_000);

const forms = ['overlay', 'aufs', 'apply'] as const;
const base = await workspace(t, 'outside/d');
writeFileSync(`${base}/outside/victim`, 'untouched');
const outside = { name: 'up', flag: '2', link: '../outside' };

async function apply(bytes: Buffer, whiteouts: ApplyOptions['whiteouts']): Promise<void> {
  // rm(1): Node's own does not get to the bottom of the deep ones.
  execFileSync('rm', ['-rf', `${base}/layer`]);
  mkdirSync(`${base}/layer`);
  const reader = new LayerReader(inPieces(bytes, 3000), { limits: { bytes: 2 ** 24 } });
  await applyLayer(reader, `${base}/layer`, { whiteouts, ownership: isRoot ? 'real' : 'override' });
  await reader.finish();
}

/** What is beside the layer is as it was. */
function untouched(): boolean {
  return (
    readdirSync(base).sort().join() === 'layer,outside' &&
    readdirSync(`${base}/outside`).sort().join() === 'd,victim' &&
    readdirSync(`${base}/outside/d`).length === 0 &&
    readFileSync(`${base}/outside/victim`, 'latin1') === 'untouched' &&
    lstatSync(`${base}/outside/victim`).nlink === 1
  );
}

interface Case {
  readonly what: string;
  readonly parts: readonly (Fields | Buffer)[];
  /** Undefined: it is applied. */
  readonly code?: string;
  /** Where that depends on what becomes of whiteouts. */
  readonly forms?: readonly ApplyOptions['whiteouts'][];
}

const hostile = 'archive-hostile';
const damaged = 'archive-damaged';
const cases: readonly Case[] = [
  { what: 'a path up', parts: [{ name: '../outside/x', data: 'x' }], code: hostile },
  { what: 'a path down and up', parts: [{ name: 'a/../../outside/x', data: 'x' }], code: hostile },
  { what: 'a directory up', parts: [{ name: '../outside/d/', flag: '5', mode: 0 }], code: hostile },
  { what: 'a long name up', parts: [longName('../outside/x'), { name: 'x' }], code: hostile },
  { what: 'a PAX path up', parts: [{ name: 'x', pax: { path: '../outside/x' } }], code: hostile },
  {
    what: 'a sparse name up',
    parts: [
      {
        name: 'x',
        pax: { 'GNU.sparse.map': '', 'GNU.sparse.size': '0', 'GNU.sparse.name': '../outside/x' },
      },
    ],
    code: hostile,
  },
  { what: 'an absolute path is the layer’s', parts: [{ name: `${base}/outside/x`, data: 'x' }] },
  { what: 'through a link up', parts: [outside, { name: 'up/x', data: 'x' }], code: hostile },
  {
    what: 'through an absolute link',
    parts: [
      { ...outside, link: `${base}/outside` },
      { name: 'up/victim', data: 'x' },
    ],
    code: hostile,
  },
  {
    what: 'through a link to the root above',
    parts: [
      { ...outside, link: '/../../../..' },
      { name: `up${base}/outside/victim`, data: 'x' },
    ],
  },
  {
    what: 'through /proc',
    parts: [
      { ...outside, link: '/proc/self/cwd' },
      { name: 'up/x', data: 'x' },
    ],
    code: hostile,
  },
  {
    what: 'a file over a link is no file behind it',
    parts: [
      { ...outside, link: '../outside/victim' },
      { name: 'up', data: 'x' },
    ],
  },
  {
    what: 'a directory over a link',
    parts: [outside, { name: 'up/', flag: '5', mode: 0 }, { name: 'up/x' }],
  },
  {
    what: 'a directory that becomes a link',
    parts: [{ name: 'up/', flag: '5' }, { name: 'up/a' }, outside, { name: 'up/x', data: 'x' }],
    code: hostile,
  },
  {
    what: 'times of a directory that became a link',
    parts: [
      { name: 'up/', flag: '5', mtime: 1 },
      { ...outside, link: '/' },
    ],
  },
  {
    what: 'a hard link up',
    parts: [{ name: 'h', flag: '1', link: '../outside/victim' }],
    code: hostile,
  },
  {
    what: 'an absolute hard link',
    parts: [{ name: 'h', flag: '1', link: `${base}/outside/victim` }],
    code: damaged,
  },
  {
    what: 'a hard link through a link',
    parts: [outside, { name: 'h', flag: '1', link: 'up/victim' }],
    code: damaged,
  },
  {
    what: 'a hard link to a link, then a file',
    parts: [
      { ...outside, link: '../outside/victim' },
      { name: 'h', flag: '1', link: 'up', mode: 0o777 },
      { name: 'h', data: 'x' },
    ],
  },
  { what: 'a hard link to the root', parts: [{ name: 'h', flag: '1', link: '/' }], code: hostile },
  {
    what: 'a hard link to a directory',
    parts: [
      { name: 'd/', flag: '5' },
      { name: 'h', flag: '1', link: 'd' },
    ],
    code: 'archive-hostile',
  },
  {
    what: 'a hard link to itself',
    parts: [{ name: 'h' }, { name: 'h', flag: '1', link: 'h' }],
    code: 'archive-hostile',
  },
  {
    what: 'a hard link to nothing',
    parts: [{ name: 'h', flag: '1', link: 'nothing' }],
    code: damaged,
  },
  {
    what: 'a hard link to a whiteout',
    parts: [{ name: '.wh.a' }, { name: 'h', flag: '1', link: '.wh.a' }],
    code: hostile,
  },
  {
    what: 'a hard link to bookkeeping that is not there',
    parts: [{ name: 'h', flag: '1', link: '.wh..wh.plnk/1' }],
    code: damaged,
  },
  {
    what: 'bookkeeping up',
    parts: [{ name: '.wh..wh.plnk/../../outside/x', data: 'x' }],
    code: hostile,
  },
  {
    what: 'a link as bookkeeping',
    parts: [
      { name: '.wh..wh.plnk', flag: '2', link: '../outside' },
      { name: '.wh..wh.plnk/x', data: 'x' },
    ],
  },
  {
    what: 'the whiteout of ..',
    parts: [{ name: 'd/.wh...' }],
    code: hostile,
    forms: ['overlay', 'apply'],
  },
  {
    what: 'the whiteout of .',
    parts: [{ name: 'd/.wh..' }],
    code: hostile,
    forms: ['overlay', 'apply'],
  },
  {
    what: 'the whiteout of nothing',
    parts: [{ name: 'd/.wh.' }],
    code: hostile,
    forms: ['overlay', 'apply'],
  },
  {
    what: 'a whiteout through a link',
    parts: [outside, { name: 'up/.wh.victim' }],
    code: hostile,
    forms: ['overlay', 'aufs'],
  },
  {
    what: 'a whiteout through a link, nothing there',
    parts: [outside, { name: 'up/.wh.victim' }],
    forms: ['apply'],
  },
  { what: 'opaque through a link', parts: [outside, { name: 'up/.wh..wh..opq' }], code: hostile },
  { what: 'a whiteout of its own link', parts: [outside, { name: '.wh.up' }] },
  {
    what: 'files below a whiteout',
    parts: [{ name: '.wh.d/', flag: '5' }, { name: '.wh.d/.wh.x' }],
    code: hostile,
  },
  { what: 'a file in a file', parts: [{ name: 'f' }, { name: 'f/x' }], code: hostile },
  {
    what: 'a directory in a fifo',
    parts: [
      { name: 'f', flag: '6' },
      { name: 'f/x/', flag: '5' },
    ],
    code: hostile,
  },
  {
    what: 'links in a circle',
    parts: [{ ...outside, link: 'up' }, { name: 'up/x' }],
    code: hostile,
  },
  { what: 'a root that is a file', parts: [{ name: './', data: 'x' }], code: hostile },
  {
    what: 'a root that is a link',
    parts: [{ name: '.', flag: '2', link: '../outside' }],
    code: hostile,
  },
  { what: 'a name without a character', parts: [{ name: '' }], code: hostile },
  {
    what: 'a component of 256 bytes',
    parts: [longName('n'.repeat(256)), { name: 'x' }],
    code: hostile,
  },
  {
    what: 'a path of 5,000 bytes',
    parts: [longName('n/'.repeat(2500) + 'x'), { name: 'x' }],
    code: 'path-too-long',
  },
  {
    what: 'a path of 2,000 directories',
    parts: [longName('n/'.repeat(2000) + 'x'), { name: 'x' }],
  },
  {
    what: 'a link target of 5,000 bytes',
    parts: [longName('n'.repeat(5000), 'K'), { name: 'x', flag: '2' }],
    code: hostile,
  },
  { what: 'an empty link target', parts: [{ name: 'x', flag: '2' }], code: 'archive-hostile' },
  {
    what: 'a device that Linux has no number for',
    parts: [{ name: 'x', flag: '3', major: 4096, minor: 0 }],
    code: hostile,
  },
  {
    what: 'a size that is not there',
    parts: [header({ name: 'x', size: 2 ** 23 })],
    code: damaged,
  },
  { what: 'a size past all', parts: [header({ name: 'x', size: 8 ** 11 - 1 })], code: damaged },
  {
    what: 'a sparse file of an exabyte',
    parts: [{ name: 'x', pax: { 'GNU.sparse.map': '', 'GNU.sparse.size': String(2 ** 53 - 1) } }],
    code: 'apply-failed',
  },
  {
    what: 'nothing but zeros for long',
    parts: [endMarker, Buffer.alloc(2 ** 24)],
    code: 'archive-too-large',
  },
  {
    what: 'the union’s own attributes',
    parts: [
      {
        name: 'x',
        pax: {
          'SCHILY.xattr.trusted.overlay.redirect': '/../../outside',
          'SCHILY.xattr.user.containers.override_stat': '0:0:04777',
        },
      },
    ],
  },
  {
    what: 'attributes that no file can have',
    parts: [
      {
        name: 'x',
        pax: {
          'SCHILY.xattr.nonsense': 'x',
          'SCHILY.xattr.user.': 'x',
          ['SCHILY.xattr.user.' + 'n'.repeat(300)]: 'x',
          'SCHILY.xattr.user.big': 'x'.repeat(70000),
        },
      },
    ],
  },
];

for (const { what, parts, code, forms: only = forms } of cases) {
  t.test(what, async (t) => {
    for (const form of only) {
      if (code === undefined) await t.resolves(apply(tar(...parts), form), form);
      else await t.rejects(apply(tar(...parts), form), { code }, form);
      t.ok(untouched(), `${form}: nothing outside`);
    }
  });
}

t.test('any few entries with names that meet', async (t) => {
  const name = fc.constantFrom(
    'up',
    'up/x',
    'up/victim',
    'a',
    'a/b',
    'a/b/c',
    '.wh.up',
    'up/.wh.victim',
    'a/.wh..wh..opq',
    '.wh..wh.plnk/a',
    '.wh.a',
    '../x',
    './up/../a',
  );
  const link = fc.constantFrom(
    '../outside',
    `${base}/outside`,
    '/',
    '..',
    'a',
    'up',
    'up/victim',
    '.wh..wh.plnk/a',
    'a/b',
  );
  const fields: fc.Arbitrary<Fields> = fc.record({
    name,
    link,
    flag: fc.constantFrom('0', '1', '2', '5', '6'),
    data: fc.constant(''),
  });
  let applied = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fields, { maxLength: 8 }),
      fc.constantFrom(...forms),
      async (parts, form) => {
        await apply(tar(...parts), form).then(
          () => applied++,
          (error: unknown) => {
            const { code } = error as { code?: string };
            if (code === undefined || !/^(archive|apply)-/.test(code)) throw error;
          },
        );
        if (!untouched()) throw new Error('something outside was touched');
      },
    ),
    { numRuns: 150 },
  );
  t.ok(applied > 0, 'some are harmless');
});

t.test('any bytes at all', async (t) => {
  const good = tar(
    { name: 'a', data: 'x'.repeat(600), pax: { comment: 'c' } },
    { name: 'b/', flag: '5' },
  );
  const flips = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), {
    minLength: 1,
    maxLength: 4,
  });
  await fc.assert(
    fc.asyncProperty(flips, async (all) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of all) bytes[at] = value;
      await apply(bytes, 'overlay').catch((error: unknown) => {
        if (!/^(archive|apply)-/.test((error as { code?: string }).code ?? '')) throw error;
      });
      if (!untouched()) throw new Error('something outside was touched');
    }),
    { numRuns: 100 },
  );
  t.pass('errors with a code only');
});

t.test('what is wrong is said of the layer, not of the file system', async (t) => {
  const layer = await workspace(t);
  const said = async (bytes: Buffer): Promise<unknown> =>
    applyLayer(new LayerReader(inPieces(bytes)), layer, {
      whiteouts: 'overlay',
      ownership: 'override',
    }).catch((error: unknown) => error);
  t.match(await said(tar({ name: 'd/', flag: '5' }, { name: 'e', flag: '1', link: 'd' })), {
    code: 'archive-hostile',
    message: 'The layer has the hard link e to d, which is a directory: do not use this layer.',
  });
  t.match(await said(tar({ name: 'l', flag: '2' })), {
    code: 'archive-hostile',
    message: /symbolic link l, .* its target is empty/,
  });
  t.match(await said(Buffer.from('hello\n'.repeat(200))), {
    code: 'archive-damaged',
    message: /^The layer is no tar/,
  });
  t.match(
    await said(
      Buffer.concat([tar({ name: 'f' }).subarray(0, 512), Buffer.from('hello\n'.repeat(200))]),
    ),
    {
      message: /^The layer's tar is damaged/,
    },
  );
  t.match(await said(gzipSync(tar({ name: 'f' })).subarray(0, 60)), {
    message:
      'The gzip data of the layer cannot be read (it is cut short): fetch or make the archive again.',
  });
});
