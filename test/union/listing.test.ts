/**
 * A reader of a directory finds his place again, whatever comes and goes (listing.ts): against a
 * plain model.
 */
import fc from 'fast-check';
import t from 'tap';
import type { Name } from '../../src/base/bytes.js';
import { Unbelieved } from '../../src/overlay/belief.js';
import type { UnionContext } from '../../src/union/context.js';
import type { LayerDirectory, Device } from '../../src/overlay/layer.js';
import {
  addToDirectory,
  listingOf,
  positionAfter,
  removeFromDirectory,
} from '../../src/union/listing.js';
import { Dentry, DirectoryNode } from '../../src/union/node.js';

const device: Device = {
  major: 0,
  minor: 1,
  base: 0,
  limit: 2 ** 52,
  numbersApart: true,
  uuid: null,
  name: '',
};

/** A layer in memory that can be listed and nothing else. */
function directoryOf(names: readonly string[]): DirectoryNode {
  const unbelieved = new Unbelieved(() => undefined);
  const seen = { index: 1, form: 'overlay', device, devices: null, bottom: true } as const;
  const layer = { ...seen, marks: 'trusted', overrideStat: undefined, unbelieved } as const;
  const holder: LayerDirectory = {
    layer,
    descend: () => holder,
    stat: () => -2,
    statMany: () => 0,
    list: () => -2,
    *listing(visit) {
      names.forEach((name, i) => visit(name as Name, 8, i + 1, 0));
      yield names.length;
      return 0;
    },
    open: () => -2,
    readlink: () => -2,
    getxattr: () => -61,
    xattrNames: () => [],
    overrideOf: () => undefined,
    handle: () => -95,
    release: () => undefined,
    device: () => device,
  };
  return new DirectoryNode(1, [holder]);
}

const context = {} as UnionContext;

function add(directory: DirectoryNode, name: string): void {
  addToDirectory(directory, new Dentry(directory, name as Name, 8, directory.stack[0]!));
}

function remove(directory: DirectoryNode, name: string): void {
  const dentry = directory.entries.get(name as Name);
  if (dentry !== undefined) removeFromDirectory(directory, dentry);
}

/** Up to `count` names after `cookie`, and the cookie to go on from. */
function read(
  directory: DirectoryNode,
  cookie: number,
  count: number,
): { names: string[]; cookie: number } {
  const listing = listingOf(context, directory);
  const names: string[] = [];
  for (let i = positionAfter(listing, cookie); i >= 0 && names.length < count; i--) {
    const dentry = listing[i]!;
    if (dentry.cookie < 0) continue;
    names.push(dentry.name);
    cookie = dentry.cookie;
  }
  return { names, cookie };
}

type Step =
  | { do: 'read'; count: number }
  | { do: 'add' | 'remove'; name: number }
  | { do: 'rename'; name: number; to: number };

const name = fc.nat(39);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('read' as const), count: fc.integer({ min: 1, max: 7 }) }),
    fc.record({ do: fc.constantFrom('add' as const, 'remove' as const), name }),
    fc.record({ do: fc.constant('rename' as const), name, to: name }),
  ),
  { maxLength: 80 },
);

t.test(
  'every name that stays is read exactly once; no name twice unless it was made again',
  async (t) => {
    fc.assert(
      fc.property(fc.nat(30), steps, (count, steps) => {
        const initial = Array.from({ length: count }, (_, i) => `n${i}`);
        const directory = directoryOf(initial);
        listingOf(context, directory);
        const present = new Set(initial);
        const touched = new Set<string>();
        const seen: string[] = [];
        let cookie = 2;
        const drop = (gone: string) => {
          touched.add(gone);
          present.delete(gone);
          remove(directory, gone);
        };
        const bring = (come: string) => {
          if (present.has(come)) return;
          touched.add(come);
          present.add(come);
          add(directory, come);
        };
        for (const step of steps) {
          switch (step.do) {
            case 'read': {
              const got = read(directory, cookie, step.count);
              for (const one of got.names)
                if (!present.has(one)) t.fail(`${one} is listed and does not exist`);
              seen.push(...got.names);
              cookie = got.cookie;
              break;
            }
            case 'add':
              bring(`n${step.name}`);
              break;
            case 'remove':
              drop(`n${step.name}`);
              break;
            case 'rename':
              if (!present.has(`n${step.name}`)) break;
              drop(`n${step.to}`);
              drop(`n${step.name}`);
              bring(`n${step.to}`);
          }
        }
        seen.push(...read(directory, cookie, 1000).names);
        for (const one of initial)
          if (!touched.has(one) && seen.filter((x) => x === one).length !== 1)
            t.fail(`${one} was not read once`);
        t.strictSame(
          read(directory, 2, 1000).names.sort(),
          [...present].sort(),
          'a new reader sees what is there',
        );
      }),
      { numRuns: 300 },
    );
  },
);

t.test(
  'rm -rf of 20,000 names, in pieces: none is missed, and the removed are squeezed out',
  async (t) => {
    const directory = directoryOf(Array.from({ length: 20_000 }, (_, i) => `n${i}`));
    let cookie = 2;
    let removed = 0;
    for (;;) {
      const got = read(directory, cookie, 113);
      if (got.names.length === 0) break;
      for (const one of got.names) remove(directory, one);
      removed += got.names.length;
      cookie = got.cookie;
    }
    t.equal(removed, 20_000);
    t.equal(directory.entries.size, 0);
    t.ok(listingOf(context, directory).length <= 1025, 'what is kept of removed names is bounded');
  },
);

t.test('who renames what he reads does not read for ever', async (t) => {
  const directory = directoryOf(Array.from({ length: 3000 }, (_, i) => `n${i}`));
  let cookie = 2;
  let reads = 0;
  for (let at = 0; at < 10_000; at++) {
    const got = read(directory, cookie, 1);
    if (got.names.length === 0) break;
    reads++;
    cookie = got.cookie;
    remove(directory, got.names[0]!);
    add(directory, `renamed${at}`);
  }
  t.equal(reads, 3000);
  t.equal(read(directory, 2, 10_000).names.length, 3000);
});

t.test('names made one after another are listed once each, the newest first', async (t) => {
  const directory = directoryOf(['old']);
  listingOf(context, directory);
  for (const one of ['a', 'b', 'c']) add(directory, one);
  t.strictSame(read(directory, 2, 10).names, ['c', 'b', 'a', 'old']);
  const { cookie } = read(directory, 2, 2);
  add(directory, 'd');
  remove(directory, 'c');
  t.strictSame(read(directory, cookie, 10).names, ['a', 'old']);
});
