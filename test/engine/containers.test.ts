/**
 * Containers, through the use cases that `ply` calls: made, found, changed, committed, copied from
 * and to.
 */
import { spawn } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { bytesOf } from '../../src/base/bytes.js';
import { commitContainer } from '../../src/engine/containers/commit.js';
import {
  containerChanges,
  renameContainer,
  resetContainer,
} from '../../src/engine/containers/changes.js';
import {
  copyIn,
  copyOut,
  copyOutAsTar,
  copyTarIn,
} from '../../src/engine/containers/copy-files.js';
import { createContainer } from '../../src/engine/containers/create.js';
import { openDataRoot, type DataRoot } from '../../src/engine/data-root.js';
import { exportContainer } from '../../src/engine/containers/export.js';
import { findContainer } from '../../src/engine/containers/find.js';
import { checkRoot } from '../../src/engine/fsck.js';
import { importImage } from '../../src/engine/images/import.js';
import { listContainers } from '../../src/engine/containers/list.js';
import { mountImage } from '../../src/engine/mounts/mount-image.js';
import { prunable, pruneContainers } from '../../src/engine/containers/prune.js';
import { removeImage } from '../../src/engine/images/remove.js';
import { removeMounted } from '../../src/engine/containers/remove-container.js';
import { unmount } from '../../src/engine/mounts/unmount.js';
import { contentOf, diffIdOf, sourceOf, tarOf } from '../layer/fixture.js';
import { ended, run, succeed } from '../support/command.js';
import { daemonsOf, mountAt } from '../support/mounts.js';
import { root as checkout } from '../support/root.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(240_000);
const directory = { type: 'directory', mode: 0o755 } as const;

interface Scene {
  readonly base: string;
  readonly mnt: string;
  readonly root: DataRoot;
}

/** A root with the image base:1. */
async function scene(t: Test): Promise<Scene> {
  const base = await workspace(t, 'mnt', 'host');
  const root = await openDataRoot({ root: `${base}/root`, write: true });
  t.teardown(() => root.close());
  const tar = await tarOf({
    'etc/': directory,
    'etc/motd': 'hello\n',
    'data/': directory,
    'data/old': 'old\n',
  });
  await importImage(root, sourceOf(tar), {
    name: 'base:1',
    message: '',
    changes: [
      'CMD ["sh"]',
      'ENTRYPOINT ["env"]',
      'ENV A=1 B=2',
      'LABEL k=v',
      'USER me',
      'CMD ["sh"]',
    ],
  });
  return { base, mnt: `${base}/mnt`, root };
}

const lines = async (root: DataRoot, name: string): Promise<string[]> =>
  (await containerChanges(root, name)).map(({ kind, path }) => `${kind} ${path}`);
const lazy = { lazy: false };

if (!isRoot) t.pass('needs root', { skip: 'layers with their owners need root' });
else {
  await t.test('made with what was asked for beside the image, and found again', async (t) => {
    const { root, base } = await scene(t);
    const made = await createContainer(root, 'base:1', {
      name: 'one',
      env: ['B=3', 'C=4'],
      labels: new Map([['x', 'y']]),
      hostname: 'host',
    });
    t.match(made, {
      name: 'one',
      image: 'base:1',
      config: { env: ['A=1', 'B=3', 'C=4'], cmd: ['sh'], entrypoint: ['env'], user: 'me' },
    });
    t.same([...made.config.labels].sort(), [
      ['k', 'v'],
      ['x', 'y'],
    ]);
    const other = await createContainer(root, made.imageId!.slice(0, 20), {
      entrypoint: [],
      workdir: '/w',
    });
    t.match(other.name, /^[a-z]+_[a-z_]+\d*$/);
    t.match(other, {
      image: 'base:1',
      config: { entrypoint: [], cmd: [], workingDir: '/w', hostname: other.id.slice(0, 12) },
    });
    const command = await createContainer(root, 'base:1', { name: 'three', command: ['ls', '-l'] });
    t.match(command.config, { entrypoint: ['env'], cmd: ['ls', '-l'] });

    const again = await openDataRoot({ root: `${base}/root`, write: false });
    t.teardown(() => again.close());
    for (const word of ['one', made.id, made.id.slice(0, 12)])
      t.match(findContainer(again, word), { id: made.id, config: { hostname: 'host' } });
    t.throws(() => findContainer(again, 'nobody'), { code: 'container-missing' });
    t.throws(() => findContainer(again, ''), { code: 'container-missing' });
    await t.rejects(createContainer(root, 'base:1', { name: 'one' }), { code: 'mount-exists' });
    await t.rejects(createContainer(root, 'base:1', { name: '../one' }), {
      code: 'mount-name-invalid',
    });
    await t.rejects(createContainer(root, 'none:1'), { code: 'object-missing' });
    t.same(
      (await listContainers(root)).map(({ name, state }) => `${name} ${state}`),
      ['three idle', `${other.name} idle`, 'one idle'],
      'the newest first, and nothing of what failed',
    );
  });

  await t.test('renamed, mounted or not', async (t) => {
    const { root, mnt } = await scene(t);
    const { id } = await createContainer(root, 'base:1', { name: 'one' });
    await createContainer(root, 'base:1', { name: 'two' });
    await mountImage(root, 'one', { directory: bytesOf(mnt) });
    t.throws(() => renameContainer(root, 'one', 'two'), { code: 'mount-exists' });
    t.throws(() => renameContainer(root, 'one', 'a/b'), { code: 'mount-name-invalid' });
    t.same(renameContainer(root, 'one', 'uno'), { name: 'uno', formerName: 'one' });
    t.equal(findContainer(root, 'uno').id, id);
    await unmount(bytesOf('uno'), lazy, async () => root);
    t.equal(mountAt(mnt), undefined);
    t.same((await checkRoot(root)).left, []);
  });

  await t.test('a layer that ply mount made is a container, and is not pruned', async (t) => {
    const { root, mnt } = await scene(t);
    await mountImage(root, 'base:1', { directory: bytesOf(mnt), name: 'plain' });
    writeFileSync(`${mnt}/new`, '');
    t.match(findContainer(root, 'plain'), {
      name: 'plain',
      image: 'base:1',
      config: { cmd: ['sh'] },
    });
    t.same(await lines(root, 'plain'), ['A /new']);
    await unmount(bytesOf('plain'), lazy, async () => root);
    await createContainer(root, 'base:1', { name: 'made' });
    const names = await prunable(root);
    t.same(names, ['made']);
    t.match(await pruneContainers(root, names), { removed: [{ name: 'made' }], reclaimed: 0 });
    t.same(
      (await listContainers(root)).map(({ name }) => name),
      ['plain'],
    );
  });

  await t.test(
    'committed: while mounted, with changes to how it is run, and twice at once',
    async (t) => {
      const { root, mnt, base } = await scene(t);
      const container = await createContainer(root, 'base:1', {
        name: 'one',
        command: ['do', 'it'],
        env: ['C=3'],
      });
      const empty = await commitContainer(root, 'one', { name: 'empty:1' });
      t.equal(empty.chainId, undefined);
      const emptyImage = root.images.get(empty.id)!;
      t.match(emptyImage.config.history.at(-1), { emptyLayer: true, createdBy: 'do it' });
      t.equal(emptyImage.config.diffIds.length, 1);

      await mountImage(root, 'one', { directory: bytesOf(mnt) });
      writeFileSync(`${mnt}/etc/motd`, 'changed\n');
      rmSync(`${mnt}/data/old`);
      const changes = [
        'CMD ["/x"]',
        'ENV C=5 D=6',
        'WORKDIR /w',
        'USER you',
        'EXPOSE 80',
        'LABEL a=b',
        'VOLUME /v',
      ];
      const { id, tag, chainId } = await commitContainer(root, 'one', {
        name: 'new',
        author: 'Me',
        message: 'msg',
        changes,
      });
      t.equal(tag, 'new:latest');
      const image = root.images.get(id)!;
      t.equal(image.parent, container.imageId);
      t.match(image.config, {
        author: 'Me',
        history: [{}, { createdBy: 'do it', comment: 'msg', author: 'Me', emptyLayer: false }],
        run: {
          cmd: ['/x'],
          entrypoint: ['env'],
          env: ['A=1', 'B=2', 'C=5', 'D=6'],
          workingDir: '/w',
          user: 'you',
          exposedPorts: ['80/tcp'],
          volumes: ['/v'],
        },
      });
      t.same([...image.config.run.labels].sort(), [
        ['a', 'b'],
        ['k', 'v'],
      ]);
      const entered = await commitContainer(root, 'one', { changes: ['ENTRYPOINT ["/e"]'] });
      t.match(
        root.images.get(entered.id)!.config.run,
        { entrypoint: ['/e'], cmd: [] },
        'a command was meant for the former entrypoint',
      );
      t.equal(entered.chainId, chainId, 'the same changes are the same layer');
      await t.rejects(commitContainer(root, 'one', { changes: ['FROM x'] }), { code: 'usage' });
      await t.rejects(commitContainer(root, 'one', { name: 'UPPER' }), {
        code: 'reference-invalid',
      });

      const tar = await contentOf(root.layers.tar(chainId!));
      t.equal(diffIdOf(tar), image.config.diffIds.at(-1));
      writeFileSync(`${base}/layer.tar`, tar);
      t.same(
        (await succeed(['tar', '-tf', `${base}/layer.tar`]))
          .split('\n')
          .filter((name) => name !== ''),
        ['data/', 'data/.wh.old', 'etc/', 'etc/motd'],
      );

      writeFileSync(`${mnt}/more`, 'x'.repeat(100_000));
      const both = await Promise.all([
        commitContainer(root, 'one', { name: 'twice:1' }),
        commitContainer(root, 'one', { name: 'twice:2' }),
      ]);
      t.equal(both[0].chainId, both[1].chainId);
      for (const { id } of both) t.equal(root.images.get(id)?.config.diffIds.length, 2);
      // What the container was made of goes; what was committed has what it needs.
      await removeMounted(root, 'one', { force: true });
      await removeImage(root, 'base:1', { force: true });
      t.same((await checkRoot(root, { deep: true })).left, []);
    },
  );

  await t.test('copied to the host, by the rules of docker cp', async (t) => {
    const { root, base } = await scene(t);
    await createContainer(root, 'base:1', { name: 'one' });
    const host = `${base}/host`;
    const out = (from: string, to: string) =>
      copyOut(root, 'one', bytesOf(from), bytesOf(`${host}/${to}`));
    await out('/etc/motd', 'file');
    t.equal(readFileSync(`${host}/file`, 'utf8'), 'hello\n');
    await out('etc/motd', '');
    t.equal(
      readFileSync(`${host}/motd`, 'utf8'),
      'hello\n',
      'into a directory, under its own name',
    );
    await out('/data', 'made');
    t.same(readdirSync(`${host}/made`), ['old'], 'a directory that was not there is the copy');
    await out('/data', 'made');
    t.same(readdirSync(`${host}/made`).sort(), ['data', 'old'], 'one that is there gets it');
    mkdirSync(`${host}/content`);
    await out('/data/.', 'content');
    t.same(readdirSync(`${host}/content`), ['old']);
    await t.rejects(out('/etc/motd', 'none/'), { code: 'copy-conflict' });
    await t.rejects(out('/etc/motd', 'none/file'), { code: 'copy-path-missing' });
    await t.rejects(out('/data', 'file'), { code: 'copy-conflict' });
    await t.rejects(out('/etc/motd/', 'x'), { code: 'copy-path-missing' });
    await t.rejects(out('/none', 'x'), { code: 'copy-path-missing' });
    mkdirSync(`${host}/motd.d/motd`, { recursive: true });
    await t.rejects(
      out('/etc/motd', 'motd.d'),
      { code: 'copy-conflict' },
      'no directory is replaced by a file',
    );
    t.same(
      (await root.layers.shown()).map(({ target }) => target),
      [],
      'nothing stays mounted',
    );
  });

  await t.test('copied into a container, mounted or not; tars; all of it', async (t) => {
    const { root, base, mnt } = await scene(t);
    await createContainer(root, 'base:1', { name: 'one' });
    mkdirSync(`${base}/host/dir/sub`, { recursive: true });
    writeFileSync(`${base}/host/dir/sub/f`, 'f\n');
    await succeed(['chown', '-R', '12:34', `${base}/host/dir`]);
    const into = (from: string, to: string) =>
      copyIn(root, 'one', bytesOf(`${base}/host/${from}`), bytesOf(to));
    await into('dir', '/data');
    await into('dir/.', '/etc');
    await t.rejects(into('dir', '/etc/motd'), { code: 'copy-conflict' });
    t.same(await lines(root, 'one'), [
      'C /data',
      'A /data/dir',
      'A /data/dir/sub',
      'A /data/dir/sub/f',
      'C /etc',
      'A /etc/sub',
      'A /etc/sub/f',
    ]);
    await mountImage(root, 'one', { directory: bytesOf(mnt) });
    await into('dir/sub/f', '/new');
    t.equal(readFileSync(`${mnt}/new`, 'utf8'), 'f\n');
    t.match(lstatSync(`${mnt}/data/dir/sub/f`), { uid: 12, gid: 34 });
    await copyTarIn(
      root,
      'one',
      sourceOf(await tarOf({ 'deep/er/file': 'x', '.wh.name': 'a name like another' })),
      bytesOf('/data'),
    );
    t.same(readdirSync(`${mnt}/data`).sort(), ['.wh.name', 'deep', 'dir', 'old']);
    await t.rejects(copyTarIn(root, 'one', sourceOf(await tarOf({ x: '' })), bytesOf('/new')), {
      code: 'copy-conflict',
    });

    let listed = '';
    await copyOutAsTar(root, 'one', bytesOf('/data/dir'), async (tar) => {
      writeFileSync(`${base}/out.tar`, await contentOf(tar));
      listed = await succeed(['tar', '-tvf', `${base}/out.tar`, '--numeric-owner']);
    });
    t.match(listed, /12\/34 .* dir\/sub\/f\n/);
    writeFileSync(`${base}/all.tar`, await contentOf(exportContainer(root, 'one')));
    const names = (await succeed(['tar', '-tf', `${base}/all.tar`])).split('\n');
    for (const name of ['.dockerenv', 'data/dir/sub/f', 'etc/motd', 'new', 'proc/'])
      t.ok(names.includes(name), name);
  });

  await t.test('no link leads out of a container', async (t) => {
    const { root, base, mnt } = await scene(t);
    await createContainer(root, 'base:1', { name: 'one' });
    await mountImage(root, 'one', { directory: bytesOf(mnt) });
    writeFileSync(`${base}/host/secret`, 'secret\n');
    mkdirSync(`${base}/host/dir`);
    const outside = `${base}/host`;
    symlinkSync(outside, `${mnt}/absolute`);
    symlinkSync(`${'../'.repeat(20)}${outside.slice(1)}`, `${mnt}/relative`);
    symlinkSync(`${outside}/secret`, `${mnt}/etc/secret`);
    mkdirSync(`${mnt}/data/dir`);
    for (const path of ['/absolute/secret', '/relative/secret', '/etc/../absolute/secret'])
      await t.rejects(
        copyOut(root, 'one', bytesOf(path), bytesOf(`${base}/got`)),
        { code: 'copy-path-missing' },
        path,
      );
    await t.rejects(
      copyOut(root, 'one', bytesOf('/etc/secret'), bytesOf(`${base}/got`), { followLink: true }),
      {
        code: 'copy-path-missing',
      },
    );
    await t.rejects(copyIn(root, 'one', bytesOf(`${outside}/secret`), bytesOf('/absolute/made')), {
      code: 'copy-path-missing',
    });
    t.notOk(existsSync(`${outside}/made`));
    // A link is copied as one, and what follows is not written through it.
    await copyOut(root, 'one', bytesOf('/etc/secret'), bytesOf(`${base}/link`));
    t.ok(lstatSync(`${base}/link`).isSymbolicLink());
    const through = await tarOf({ link: { type: 'symlink', linkname: outside }, 'link/made': 'x' });
    await copyTarIn(root, 'one', sourceOf(through), bytesOf('/data')).catch(() => undefined);
    await t.rejects(
      copyTarIn(root, 'one', sourceOf(await tarOf({ '../../../out': 'x' })), bytesOf('/data')),
      { code: 'archive-hostile' },
    );
    t.same(readdirSync(outside).sort(), ['dir', 'secret']);
    // A directory of the host's that is a link is not written through either.
    symlinkSync(outside, `${base}/mnt2`);
    mkdirSync(`${base}/target`);
    symlinkSync(outside, `${base}/target/dir`);
    writeFileSync(`${mnt}/data/dir/made`, 'x');
    await t.rejects(copyOut(root, 'one', bytesOf('/data/dir'), bytesOf(`${base}/target`)), {
      code: 'copy-conflict',
    });
    t.same(readdirSync(outside).sort(), ['dir', 'secret']);
  });

  await t.test('a container that is mounted, or whose mount has died', async (t) => {
    const { root, mnt } = await scene(t);
    await createContainer(root, 'base:1', { name: 'one' });
    await mountImage(root, 'one', { directory: bytesOf(mnt) });
    writeFileSync(`${mnt}/new`, 'written\n');
    await t.rejects(removeMounted(root, 'one', { force: false }), { code: 'layer-in-use' });
    await t.rejects(resetContainer(root, 'one'), { code: 'layer-in-use' });
    const [daemon] = daemonsOf(mnt);
    process.kill(daemon!, 'SIGKILL');
    await ended(daemon!);
    t.match(await listContainers(root), [{ name: 'one', state: 'dead', mountpoints: [mnt] }]);
    t.same(await lines(root, 'one'), ['A /new'], 'what is on disk can be told');
    await t.rejects(copyOut(root, 'one', bytesOf('/new'), bytesOf(`${mnt}/../got`)), {
      code: 'mount-dead',
    });
    await t.rejects(contentOf(exportContainer(root, 'one')), { code: 'mount-dead' });
    await unmount(bytesOf('one'), lazy, async () => root);
    t.equal(mountAt(mnt), undefined);
    await mountImage(root, 'one', { directory: bytesOf(mnt) });
    t.equal(readFileSync(`${mnt}/new`, 'utf8'), 'written\n');
    await removeMounted(root, 'one', { force: true });
    t.equal(mountAt(mnt), undefined);
    t.same(root.driver.ids().length, 1, 'the image is left');
  });

  await t.test('a container in use in another mount namespace', async (t) => {
    const { root, base, mnt } = await scene(t);
    await createContainer(root, 'base:1', { name: 'one' });
    const { own, below, work } = findContainer(root, 'one').mounted.directories();
    const options = `lowerdir=${below.join(':')},upperdir=${own},workdir=${work!},fsname=${join(own, '..')}`;
    // Goes when its input ends.
    const script = `"$0" -o "$1" "$2" && echo there > "$2/inside" && touch ${base}/host/ready && cat && umount "$2"`;
    const child = spawn(
      'unshare',
      ['-m', 'sh', '-c', script, join(checkout, 'bin/plyfs'), options, mnt],
      {
        stdio: ['pipe', 'ignore', 'inherit'],
      },
    );
    const exited = new Promise((resolve) => child.on('exit', resolve));
    t.teardown(() => child.stdin.end());
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (!existsSync(`${base}/host/ready`)) return;
        watcher.close();
        resolve();
      };
      const watcher = watch(`${base}/host`, look);
      look();
    });
    t.match(await listContainers(root), [{ name: 'one', state: 'in-use', mountpoints: [] }]);
    t.same(await lines(root, 'one'), ['A /inside']);
    t.same(await prunable(root), []);
    await t.rejects(removeMounted(root, 'one', { force: true }), { code: 'layer-in-use' });
    await t.rejects(copyIn(root, 'one', bytesOf(`${base}/host/ready`), bytesOf('/')), {
      code: 'layer-in-use',
    });
    child.stdin.end();
    await exited;
    await resetContainer(root, 'one');
    t.same(await lines(root, 'one'), []);
  });

  await t.test('an upper that was changed from outside, and a record that was', async (t) => {
    const { root } = await scene(t);
    const { id, mounted } = await createContainer(root, 'base:1', { name: 'one' });
    const { own } = mounted.directories();
    mkdirSync(`${own}/etc`);
    writeFileSync(`${own}/etc/motd`, 'from outside\n');
    await succeed(['mknod', `${own}/nothing`, 'c', '0', '0']);
    t.same(
      await lines(root, 'one'),
      ['C /etc', 'C /etc/motd'],
      'a whiteout of nothing is no change',
    );
    t.ok((await commitContainer(root, 'one')).chainId);

    const record = `${root.root}/plyfs/containers/overlay2/${id}.json`;
    for (const content of ['{', '{"Config":{"Env":"x"}}', '{"Image":"x"}', 'null']) {
      writeFileSync(record, content);
      t.throws(() => findContainer(root, 'one'), { code: 'record-damaged' }, content);
      await t.rejects(commitContainer(root, 'one'), { code: 'record-damaged' });
      t.match((await checkRoot(root)).left, [{ code: 'record-damaged' }]);
      t.match(await listContainers(root), [{ name: 'one', state: 'idle', problem: String }]);
    }
    rmSync(record);
    symlinkSync('/etc/passwd', record);
    t.throws(() => findContainer(root, 'one'), { code: 'record-damaged' });
    await removeMounted(root, 'one', { force: false });
    t.notOk(existsSync(record) || lstatSync(record, { throwIfNoEntry: false }));
    t.ok(existsSync('/etc/passwd'));
  });

  await t.test('a disk that is full leaves no image, and what is there', async (t) => {
    const base = await workspace(t, 'disk', 'mnt');
    await succeed(['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', `${base}/disk`]);
    const root = await openDataRoot({ root: `${base}/disk/root`, write: true });
    t.teardown(() => root.close());
    await importImage(root, sourceOf(await tarOf({ 'etc/': directory })), { name: 'base:1' });
    await createContainer(root, 'base:1', { name: 'one' });
    await mountImage(root, 'one', { directory: bytesOf(`${base}/mnt`) });
    await run(['dd', 'if=/dev/urandom', `of=${base}/mnt/large`, 'bs=1M', 'count=2', 'status=none']);
    const before = root.layers.layers().length;
    await t.rejects(commitContainer(root, 'one', { name: 'full:1' }));
    t.same(
      [root.layers.layers().length, root.images.list().length, root.references.list().length],
      [before, 1, 1],
      'neither layer nor image nor name',
    );
    t.equal(lstatSync(`${base}/mnt/large`).size, 2 << 20);
    rmSync(`${base}/mnt/large`);
    writeFileSync(`${base}/mnt/small`, 'x');
    t.ok((await commitContainer(root, 'one', { name: 'small:1' })).chainId, 'with room it goes');
    await unmount(bytesOf('one'), lazy, async () => root);
    t.same((await checkRoot(root, { deep: true })).left, []);
  });
}
