/** Layers made to lead out of themselves, to loop, or to block whoever opens what they hold. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { succeed } from '../support/command.js';
import { O_NOFOLLOW, O_RDONLY } from '../suites/constants.js';
import type { UnionScene } from '../suites/union/scene.js';
import { daemonOf, onUnion } from './with-union.js';

t.setTimeout(120_000);

/** A file of the host, with what tells whether anybody read or changed it. */
function victim(s: UnionScene): { path: string; untouched: (what: string) => void } {
  const path = `${s.union.base}/host-file`;
  writeFileSync(path, 'secret of the host');
  // Older than its mtime: the next read would move it (mount(8), relatime).
  execFileSync('touch', ['-a', '-d', '2001-01-01', path]);
  const { atimeMs, mtimeMs, ctimeMs } = statSync(path);
  return {
    path,
    untouched: (what) => {
      const now = statSync(path);
      s.t.same(
        [now.atimeMs, now.mtimeMs, now.ctimeMs],
        [atimeMs, mtimeMs, ctimeMs],
        `${what}: the host's file is untouched`,
      );
    },
  };
}

await onUnion(
  t,
  'symbolic links out of a layer are links, whatever is done to them',
  { layers: 2, needsRoot: true },
  async (s) => {
    const { path, untouched } = victim(s);
    const passwd = statSync('/etc/passwd').mtimeMs;
    const links = {
      absolute: path,
      relative: '../host-file',
      far: '../../../../../../../etc/passwd',
      self: 'self',
      a: 'b',
      b: 'a',
      dot: '.',
      up: '..',
    };
    for (const [name, target] of Object.entries(links)) {
      await s.disk.symlink(target, `lower1/${name}`);
      await s.disk.lchown(`lower1/${name}`, 5, 5);
    }
    await s.mount();
    const before = await s.shown();
    for (const name of ['self', 'a', 'b']) await s.fails('ELOOP', s.mnt.open(name));
    for (const name of Object.keys(links)) {
      await s.mnt.setxattr(name, 'trusted.x', 'y');
      await s.mnt.lchown(name, 6, 6);
      await s.mnt.utimens(name, [1, 0], [2, 0]);
      await s.mnt.link(name, `${name}-2`);
      await s.mnt.rename(name, `${name}-3`);
      s.t.equal(await s.mnt.readlink(`${name}-3`), links[name as keyof typeof links]);
      await s.fails('ELOOP', s.mnt.open(`${name}-2`, O_RDONLY | O_NOFOLLOW));
      await s.mnt.unlink(`${name}-2`);
    }
    untouched('links changed');
    s.t.equal(before.size, 9);
    s.t.equal(statSync('/etc/passwd').mtimeMs, passwd);
    await succeed(['chown', '-hR', '7:7', s.union.mnt]);
    await succeed(['rm', '-rf', ...Object.keys(links).map((name) => `${s.union.mnt}/${name}-3`)]);
    untouched('links removed');
  },
);

await onUnion(
  t,
  'a link at a place where another layer has a directory never merges, nor leads out',
  { layers: 3, needsRoot: true },
  async (s) => {
    const outside = `${s.union.base}/outside`;
    await s.disk.mkdir(outside);
    await s.disk.put(`${outside}/file`, 'outside');
    await s.disk.mkdir(`${outside}/sub`);
    await s.lay('lower3', {
      'under/file': 'lower3',
      'between/file': 'lower3',
      'parent/sub/file': 'lower3',
    });
    await s.disk.symlink(outside, 'lower2/under');
    await s.disk.symlink('../outside', 'lower2/over');
    await s.disk.symlink(outside, 'lower2/between');
    await s.disk.symlink(outside, 'lower2/parent');
    await s.lay('lower1', {
      'over/own': 'lower1',
      'between/own': 'lower1',
      'parent/own': 'lower1',
    });
    await s.mount();
    s.t.equal(await s.mnt.readlink('under'), outside, 'a link over a directory wins');
    for (const name of ['over', 'between', 'parent'])
      s.t.same(await s.mnt.names(name), ['own'], `${name}: the link ends the merge`);
    await s.fails('ENOENT', s.mnt.get('parent/sub/file'));
    for (const name of ['over', 'between', 'parent']) {
      await s.mnt.put(`${name}/new`, 'new');
      await s.mnt.chmod(`${name}/own`, 0o600);
      await s.mnt.mkdir(`${name}/sub`);
    }
    await s.mnt.unlink('under');
    await s.mnt.mkdir('under');
    await s.mnt.put('under/file', 'new');
    s.t.same(await s.disk.names(outside), ['file', 'sub']);
    s.t.same(await s.disk.names(`${outside}/sub`), []);
    s.t.equal(readFileSync(`${outside}/file`, 'utf8'), 'outside');
    const live = await s.shown();
    await s.remount();
    s.same(await s.shown(), live, 'after a remount');
  },
);

await onUnion(
  t,
  'a link in the upper where a lower has a directory',
  { needsRoot: true },
  async (s) => {
    const { path, untouched } = victim(s);
    await s.lay('lower1', { 'dir/file': 'lower', 'dir/sub/file': 'lower' });
    await s.disk.symlink('/etc', 'upper/dir');
    await s.disk.symlink(path, 'upper/.wh..wh..opq');
    await s.mount();
    s.t.equal(await s.mnt.readlink('dir'), '/etc');
    s.t.same(await s.mnt.names(), ['dir'], 'a marker in the root of the upper: it stands alone');
    await s.mnt.unlink('dir');
    await s.fails('ENOENT', s.mnt.lstat('dir'));
    untouched('links in the upper');
  },
);

await onUnion(t, 'links in the workdir are not followed', { needsRoot: true }, async (s) => {
  const outside = `${s.union.base}/outside`;
  await s.disk.mkdir(outside);
  await s.disk.put(`${outside}/file`, 'outside');
  await s.disk.mkdir('work/work');
  await s.disk.symlink(outside, 'work/work/link');
  await s.disk.mkdir('work/work/left');
  await s.disk.symlink(outside, 'work/work/left/link');
  await s.disk.symlink('../../outside', 'work/work/incompat');
  await s.mount();
  s.t.same(await s.disk.names('work/work'), [], 'what was left is swept');
  s.t.same(await s.disk.names(outside), ['file']);
  await s.unmount();
  await s.disk.rmdir('work/work');
  await s.disk.symlink(outside, 'work/work');
  await s.t.rejects(s.union.mount(), /holds work.*empty directory/);
  s.t.same(await s.disk.names(outside), ['file']);
  await s.disk.unlink('work/work');
});

/**
 * What a process has open, one a line; a descriptor with O_PATH names a file and has not opened it.
 */
function openedBy(pid: number): string {
  const O_PATH = 0o10000000;
  return readdirSync(`/proc/${pid}/fd`)
    .filter((fd) => {
      const flags = /^flags:\s*([0-7]+)$/m.exec(
        readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'),
      )?.[1];
      return (parseInt(flags ?? '0', 8) & O_PATH) === 0;
    })
    .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
    .join('\n');
}

await onUnion(
  t,
  'fifos, sockets and devices are never opened',
  { needsRoot: true, layers: 2 },
  async (s) => {
    const nodes: Record<string, [number, number, number]> = {
      fifo: [0o010644, 0, 0],
      socket: [0o140644, 0, 0],
      tty: [0o020666, 5, 0],
      console: [0o020600, 5, 1],
      // A device that nobody drives: opening it fails with ENXIO.
      nothing: [0o020600, 4095, 7],
      disk: [0o060600, 4095, 7],
    };
    for (const [name, [mode, major, minor]] of Object.entries(nodes)) {
      for (const copy of [name, `${name}-2`, `${name}-3`])
        await s.disk.mknod(`lower1/${copy}`, mode, major, minor);
      await s.disk.setxattr(`lower1/${name}`, 'trusted.note', 'x');
      await s.lay('lower2', { [`${name}/hidden`]: 'x' });
    }
    await s.mount();
    const daemon = daemonOf(s);
    const within = async (what: string, call: Promise<unknown>) => {
      let waiting = true;
      const late = new Promise((_, reject) =>
        setTimeout(
          () => (waiting ? reject(new Error(`${what} blocks`)) : undefined),
          10_000,
        ).unref(),
      );
      await Promise.race([call, late]);
      waiting = false;
    };
    for (const name of Object.keys(nodes)) {
      await within('stat', s.mnt.lstat(name));
      await within('chmod', s.mnt.chmod(name, 0o640));
      await within('setxattr', s.mnt.setxattr(name, 'trusted.more', 'y'));
      await within('rename', s.mnt.rename(name, `${name}-moved`));
      await within('link', s.mnt.link(`${name}-2`, `${name}-linked`));
      await within('unlink', s.mnt.unlink(`${name}-3`));
      await within('unlink', s.mnt.unlink(`${name}-moved`));
      await within(
        'truncate',
        s.mnt.truncate(`${name}-linked`, 0).catch(() => undefined),
      );
    }
    const opened = openedBy(daemon);
    s.t.notMatch(opened, /tty|console|fifo/);
    s.t.equal((await s.mnt.names()).length, 12);
    await s.remount();
    s.t.match(await s.mnt.lstat('nothing-linked'), { rdev: '4095:7', nlink: 2 });
    await succeed(['sh', '-c', 'rm -rf "$0"/*', s.union.mnt]);
    s.t.same(await s.mnt.names(), []);
  },
);
