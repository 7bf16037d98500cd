/**
 * Drivers in the hands of an ordinary user: owners and devices of layers kept aside, mounts through
 * fusermount3.
 */
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { succeed } from '../support/command.js';
import { tarOf } from '../support/layer-tar.js';
import { NOBODY, asNobody, copyProgram, isRoot, openFuseDevice } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(180_000);
const skip =
  !isRoot &&
  'the test becomes another user, which takes root; as an ordinary user the other tests are this one';

/**
 * What it says of a read-write layer on a layer made of layer.tar: mounted, changed, and its tar
 * applied to another.
 */
const script = `
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
const [program, name, home, tar] = process.argv.slice(2);
const { drivers } = await import(program + '/dist/src/graphdriver/drivers/index.js');
const { LayerReader } = await import(program + '/dist/src/archive/layer-reader.js');
const definition = drivers.find((one) => one.name === name);
const options = { home, readOnly: false, options: [], mounter: 'fuse' };
const told = { unsupported: await definition.unsupported(options) };
const driver = await definition.open(options);
const id = (digit) => String(digit).repeat(64);
const look = async (layer, script) => {
  const shown = await driver.get(layer);
  try {
    return execFileSync('sh', ['-c', script], { cwd: shown.path, encoding: 'utf8' });
  } finally {
    await driver.put(layer);
  }
};
const list = "find . -mindepth 1 -printf '%P %y %m %U:%G\\\\n' | sort";
async function* once(bytes) { yield bytes; }
await driver.create(id(1), undefined);
told.size = (await driver.applyDiff(id(1), undefined, new LayerReader(once(readFileSync(tar))))).size;
await driver.createReadWrite(id(2), id(1));
told.base = await look(id(2), list);
told.written = await look(id(2), 'rm gone && mkdir gone && echo new > new && chmod 640 owned && ' + list);
told.changes = (await driver.changes(id(2), id(1))).map(({ kind, path }) => kind + ' ' + path);
const pieces = [];
for await (const piece of driver.diff(id(2), id(1))) pieces.push(Buffer.from(piece));
await driver.create(id(3), id(1));
await driver.applyDiff(id(3), id(1), new LayerReader(once(Buffer.concat(pieces))));
await driver.createReadWrite(id(4), id(3));
told.again = await look(id(4), list);
for (const digit of [4, 3, 2, 1]) await driver.remove(id(digit));
told.left = driver.ids();
console.log(JSON.stringify(told));
`;

interface Told {
  readonly unsupported?: string;
  readonly size: number;
  readonly base: string;
  readonly written: string;
  readonly changes: readonly string[];
  readonly again: string;
  readonly left: readonly string[];
}

async function tell(t: Test, name: string): Promise<Told> {
  const directory = await workspace(t, 'data');
  chownSync(`${directory}/data`, NOBODY, NOBODY);
  writeFileSync(
    `${directory}/layer.tar`,
    await tarOf([
      { name: 'owned', mode: 0o4755, uid: 7, gid: 8, content: 'x'.repeat(100) },
      { name: 'closed/', type: 'directory', mode: 0o700, uid: 9, gid: 9 },
      { name: 'closed/file', mode: 0o600, uid: 9, gid: 9, content: 'y' },
      { name: 'gone', content: 'z' },
      { name: 'null', type: 'character-device', mode: 0o666, devmajor: 1, devminor: 3 },
      { name: 'pipe', type: 'fifo', mode: 0o644 },
    ]),
  );
  writeFileSync(`${directory}/script.mjs`, script);
  const program = copyProgram(directory);
  mkdirSync(`${directory}/run`);
  chownSync(`${directory}/run`, NOBODY, NOBODY);
  const env = { ...process.env, XDG_RUNTIME_DIR: `${directory}/run` };
  const words = [
    'node',
    `${directory}/script.mjs`,
    program,
    name,
    `${directory}/data/${name}`,
    `${directory}/layer.tar`,
  ];
  return JSON.parse(await succeed([...asNobody, ...words], { env })) as Told;
}

for (const name of ['overlay2', 'fuse-overlayfs', 'aufs']) {
  t.test(name, { skip }, async (t) => {
    openFuseDevice(t);
    const told = await tell(t, name);
    t.equal(told.unsupported, undefined);
    const same = ['closed d 700 9:9', 'closed/file f 600 9:9'];
    const special = ['null c 666 0:0', 'pipe p 644 0:0'];
    t.same(told.base.trim().split('\n'), [
      ...same,
      'gone f 644 0:0',
      'null c 666 0:0',
      'owned f 4755 7:8',
      'pipe p 644 0:0',
    ]);
    const after = [
      ...same,
      `gone d 755 ${NOBODY}:${NOBODY}`,
      `new f 644 ${NOBODY}:${NOBODY}`,
      special[0],
      'owned f 640 7:8',
      special[1],
    ];
    t.same(told.written.trim().split('\n'), after);
    t.same(told.changes, ['C /gone', 'A /new', 'C /owned']);
    t.same(told.again.trim().split('\n'), after, 'its tar says the same');
    t.same(told.left, []);
  });
}

t.test('vfs keeps owners aside, too, and shows a layer where it lies', { skip }, async (t) => {
  const told = await tell(t, 'vfs');
  t.equal(told.unsupported, undefined);
  // A chmod of the file itself says nothing of the mode that is kept aside.
  t.same(told.changes, ['C /gone', 'A /new']);
  t.equal(told.again.split('\n').length, told.written.split('\n').length);
  t.same(told.left, []);
});
