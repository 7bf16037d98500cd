import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { sha256, type ImageId } from '../../src/base/digest.js';
import { ReferenceStore, type Exclusively } from '../../src/image/reference-store.js';
import { familiarString, parseReference } from '../../src/image/reference.js';
import { workspace } from '../suites/workspace.js';

const [one, two] = ['one', 'two'].map((text) => sha256(text) as ImageId) as [ImageId, ImageId];
const alone: Exclusively = (change) => change();
const open = (root: string, readOnly = false): ReferenceStore =>
  ReferenceStore.open({ root, driverName: 'overlay2', readOnly, exclusively: alone });

async function newRoot(
  t: Parameters<typeof workspace>[0],
): Promise<{ root: string; path: string }> {
  const root = await workspace(t, 'image/overlay2');
  return { root, path: join(root, 'image/overlay2/repositories.json') };
}

await t.test("the file is Docker's", async (t) => {
  const { root, path } = await newRoot(t);
  const store = open(root);
  t.equal(
    readFileSync(path, 'utf8'),
    '{"Repositories":{}}',
    'never missing: dockerd makes it so, too',
  );
  const digest = sha256('manifest');
  store.set(parseReference('small:legacy'), one, { force: false });
  store.set(parseReference('127.0.0.1:5099/x:2'), two, { force: false });
  store.set(parseReference(`127.0.0.1:5099/x:3@${digest}`), two, { force: false });
  store.set(parseReference('docker.io/library/small'), one, { force: false });
  // As dockerd 20.10 wrote it for the same tags: names and tags sorted, a digest without the tag.
  const expected = `{"Repositories":{"127.0.0.1:5099/x":{"127.0.0.1:5099/x:2":"${two}","127.0.0.1:5099/x@${digest}":"${two}"},"small":{"small:latest":"${one}","small:legacy":"${one}"}}}`;
  t.equal(readFileSync(path, 'utf8'), expected);
  t.equal((statSync(path).mode & 0o7777).toString(8), '600');
  t.same(readdirSync(join(root, 'image/overlay2')), ['repositories.json'], 'nothing beside it');
  t.ok(store.delete(parseReference('small')));
  t.notOk(store.delete(parseReference('small')), 'it is gone');
  t.ok(store.delete(parseReference('small:legacy')));
  t.notMatch(readFileSync(path, 'utf8'), /"small"/, 'a repository without tags goes');
});

await t.test('what names mean', async (t) => {
  const { root } = await newRoot(t);
  const store = open(root);
  const digest = sha256('manifest');
  store.set(parseReference('b:1'), one, { force: false });
  store.set(parseReference('a:1'), one, { force: false });
  store.set(parseReference(`a@${digest}`), one, { force: false });
  store.set(parseReference('a:2'), two, { force: false });
  t.equal(store.get(parseReference('a:1')), one);
  t.equal(store.get(parseReference('a')), undefined, 'no latest');
  t.equal(store.get(parseReference(`a:2@${digest}`)), one, 'the digest counts');
  t.same(store.of(one).map(familiarString), ['a:1', `a@${digest}`, 'b:1']);
  t.same(
    store
      .ofRepository(parseReference('a'))
      .map(({ reference, id }) => [familiarString(reference), id]),
    [
      ['a:1', one],
      ['a:2', two],
      [`a@${digest}`, one],
    ],
  );
});

await t.test('a name is not taken from an image by accident', async (t) => {
  const { root } = await newRoot(t);
  const store = open(root);
  const digest = sha256('manifest');
  t.equal(store.set(parseReference('a:1'), one, { force: false }), undefined);
  t.throws(() => store.set(parseReference('a:1'), two, { force: false }), {
    code: 'reference-conflict',
  });
  t.equal(store.get(parseReference('a:1')), one);
  t.equal(store.set(parseReference('a:1'), two, { force: true }), one);
  store.set(parseReference(`a@${digest}`), one, { force: true });
  t.throws(
    () => store.set(parseReference(`a@${digest}`), two, { force: true }),
    { code: 'reference-conflict' },
    'a digest never',
  );
  t.throws(() => store.set(parseReference('sha256:1'), one, { force: true }), {
    code: 'reference-invalid',
  });
});

await t.test('two programs that change other names lose nothing', async (t) => {
  const { root } = await newRoot(t);
  const [first, second] = [open(root), open(root)];
  first.set(parseReference('a:1'), one, { force: false });
  second.set(parseReference('b:1'), two, { force: false });
  first.set(parseReference('c:1'), one, { force: false });
  second.refresh();
  t.same(
    second.list().map(({ reference }) => familiarString(reference)),
    ['a:1', 'b:1', 'c:1'],
  );
});

await t.test('what another program wrote', async (t) => {
  const { root, path } = await newRoot(t);
  writeFileSync(path, `{"Repositories":{"x":{"x:1":"${one}","x:odd!":"${two}","x:2":"md5:abc"}}}`);
  const store = open(root);
  t.same(
    store.list().map(({ reference }) => familiarString(reference)),
    ['x:1'],
    'what is no name or no id is not shown',
  );
  store.set(parseReference('y:1'), one, { force: false });
  t.match(readFileSync(path, 'utf8'), /"x:2":"md5:abc","x:odd!"/, 'and not lost');
  for (const text of [
    '',
    '[]',
    '{"Repositories":[]}',
    '{"Repositories":{"x":{"x:1":1}}}',
    '{"Repositories":',
  ]) {
    writeFileSync(path, text);
    t.throws(() => open(root), { code: 'references-damaged' }, JSON.stringify(text));
    t.equal(readFileSync(path, 'utf8'), text, 'it is left as it is');
  }
});

await t.test('a root that is only read', async (t) => {
  const { root, path } = await newRoot(t);
  const store = open(root, true);
  t.same(store.list(), []);
  t.throws(() => store.set(parseReference('a:1'), one, { force: true }), {
    code: 'root-read-only',
  });
  t.throws(() => readFileSync(path), { code: 'ENOENT' }, 'nothing is written');
});
