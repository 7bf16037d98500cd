/** What identifies files and file systems, and the process's own numbers. */
import { readFileSync, statfsSync } from 'node:fs';
import t from 'tap';
import { check, E } from '../../src/base/errno.js';
import * as c from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { StatField } from '../../src/sys/syscalls.js';
import { b, content, directory, file, notUtf8, open, pathFd, root, stat } from './fixture.js';

t.test('memory that malloc holds free is handed back', async (t) => {
  // What there is to hand back is V8's and libuv's doing: only that it may be asked at any time is
  // certain.
  t.doesNotThrow(() => {
    sys.trimMemory();
  });
});

t.test('file handles', async (t) => {
  const { fd } = directory(t);
  file(t, fd, notUtf8, 'text');
  sys.symlinkat(b('x'), fd, b('link'));
  const buffer = new Uint8Array(137);
  const view = buffer.subarray(1);
  const length = sys.name_to_handle_at(fd, notUtf8, view, 0);
  if (length === -E.EOPNOTSUPP) {
    t.comment('the file system of the temporary directory has no file handles');
    return;
  }
  t.ok(length > 8 && length <= 136, 'into an unaligned view');
  t.equal(new DataView(buffer.buffer, 1).getUint32(0, true), length - 8);
  const handle = view.slice(0, length);
  const again = new Uint8Array(136);
  t.equal(sys.name_to_handle_at(pathFd(t, fd, notUtf8), b(''), again, 0), length);
  t.same(again.subarray(0, length), handle);
  t.equal(sys.name_to_handle_at(fd, notUtf8, new Uint8Array(8), 0), -E.EOVERFLOW);
  t.equal(sys.name_to_handle_at(fd, b('absent'), again, 0), -E.ENOENT);
  t.ok(
    sys.name_to_handle_at(fd, b('link'), again, 0) > 8,
    'of a symbolic link, though it leads nowhere',
  );

  t.equal(sys.open_by_handle_at(fd, handle.subarray(0, 7), c.O_RDONLY), -E.EINVAL);
  t.equal(
    sys.open_by_handle_at(fd, handle.subarray(0, length - 1), c.O_RDONLY),
    -E.EINVAL,
    'cut off',
  );
  t.equal(sys.open_by_handle_at(fd, new Uint8Array(500), c.O_RDONLY), -E.EINVAL);
  t.equal(sys.open_by_handle_at(fd, new Uint8Array(136).fill(0xff), c.O_RDONLY), -E.EINVAL);
  if (!root) return;
  const opened = sys.open_by_handle_at(fd, handle, c.O_RDONLY | c.O_CLOEXEC);
  if (opened === -E.EPERM) return;
  t.equal(content(check(opened)), 'text');
  t.equal(stat(opened, '')(StatField.InoLow), stat(fd, notUtf8)(StatField.InoLow));
  sys.close(opened);
  sys.unlinkat(fd, notUtf8, 0);
});

t.test('fsuuid', async (t) => {
  const { fd } = directory(t);
  const buffer = new Uint8Array(20).fill(7);
  const length = sys.fsuuid(fd, buffer);
  t.ok(length === 16 || length === -E.ENOTTY);
  if (length === 16) {
    t.same(buffer.subarray(16), [7, 7, 7, 7]);
    t.notOk(buffer.subarray(0, 16).every((byte) => byte === 7));
  }
  t.equal(sys.fsuuid(-1, buffer), -E.EBADF);
  t.equal(sys.fsuuid(open(t, c.AT_FDCWD, '/proc/self', c.O_DIRECTORY), buffer), -E.ENOTTY);
});

t.test('fstatfs', async (t) => {
  const { fd, path } = directory(t);
  const out = new Float64Array(10);
  const expected = statfsSync(path);
  t.equal(sys.fstatfs(fd, out), 0);
  const [type, bsize, blocks, , , files, , namelen, frsize] = out;
  t.same(
    [type, bsize, blocks, files],
    [expected.type, expected.bsize, expected.blocks, expected.files],
  );
  t.equal(namelen, 255);
  t.ok((frsize ?? 0) > 0);
  sys.mkdirat(fd, b('dir'), 0o700);
  t.equal(sys.fstatfs(pathFd(t, fd, 'dir'), out), 0, 'O_PATH');
  t.equal(sys.fstatfs(-1, out), -E.EBADF);
});

t.test('the limit on open files', async (t) => {
  const [soft, hard] = sys.getNofile();
  t.ok(soft > 0 && soft <= hard);
  t.teardown(() => sys.setNofile(soft));
  t.equal(sys.setNofile(soft - 1), 0);
  t.same(sys.getNofile(), [soft - 1, hard]);
  t.equal(sys.setNofile(-1), -E.EINVAL);
  if (hard < Number.MAX_SAFE_INTEGER) t.equal(sys.setNofile(hard + 1), -E.EINVAL);
});

t.test('the table of descriptors grows before it is needed', async (t) => {
  const size = (): number =>
    Number(/^FDSize:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]);
  const [limit] = sys.getNofile();
  const wanted = Math.min(limit, 3000);
  t.equal(await sys.roomForDescriptorsAsync(wanted), 0);
  t.ok(size() >= wanted, `room for ${wanted}`);
  if (limit < 2 ** 31) t.equal(await sys.roomForDescriptorsAsync(limit + 1), -E.EINVAL);
});

t.test('setProcessName', async (t) => {
  const former = readFileSync('/proc/self/comm', 'latin1').trimEnd();
  t.teardown(() => sys.setProcessName(b(former)));
  t.equal(sys.setProcessName(b('a name of many bytes')), 0);
  t.equal(readFileSync('/proc/self/comm', 'latin1'), 'a name of many \n');
});
