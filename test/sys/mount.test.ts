import t from 'tap';
import { check, E } from '../../src/base/errno.js';
import * as c from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { StatField } from '../../src/sys/syscalls.js';
import { b, content, directory, file, open, root, stat } from './fixture.js';

const mayMount = root && probe();

function probe(): boolean {
  const fd = sys.open_tree(c.AT_FDCWD, b('/'), c.OPEN_TREE_CLONE | c.O_CLOEXEC);
  if (fd >= 0) sys.close(fd);
  return fd >= 0;
}

t.test(
  'mount, umount2 and open_tree',
  { skip: mayMount ? false : 'needs CAP_SYS_ADMIN' },
  async (t) => {
    const { fd, bytes } = directory(t);
    sys.mkdirat(fd, b('at'), 0o755);
    const at = b(`${bytes}/at`);
    t.equal(
      sys.mount(b('tmpfs'), at, b('tmpfs'), c.MS_NOSUID | c.MS_NODEV, b('mode=0751,size=1m')),
      0,
    );
    // Harmless when it is unmounted already.
    t.teardown(() => sys.umount2(at, c.MNT_DETACH));
    t.equal(stat(fd, 'at')(StatField.Mode) & 0o7777, 0o751);
    t.ok(stat(fd, 'at')(StatField.Attributes) & c.STATX_ATTR_MOUNT_ROOT);
    file(t, c.AT_FDCWD, `${at}/inside`, 'text');

    const tree = sys.open_tree(c.AT_FDCWD, at, c.OPEN_TREE_CLONE | c.O_CLOEXEC);
    check(tree);
    t.teardown(() => sys.close(tree));
    t.equal(sys.umount2(at, c.MNT_DETACH), 0);
    t.equal(sys.umount2(at, 0), -E.EINVAL);
    t.equal(content(open(t, tree, 'inside', c.O_RDONLY)), 'text', 'the clone outlives the mount');
    const same = check(sys.open_tree(tree, b(''), c.O_CLOEXEC));
    t.equal(stat(same, 'inside')(StatField.Size), 4, 'the empty path');
    sys.close(same);

    t.equal(sys.mount(b('none'), at, b('no such type'), 0, b('')), -E.ENODEV);

    t.equal(sys.mount(b('tmpfs'), at, b('tmpfs'), 0, b('size=1m')), 0);
    t.equal(await sys.umount2Async(at, c.UMOUNT_NOFOLLOW), 0);
    t.equal(await sys.umount2Async(at, c.UMOUNT_NOFOLLOW), -E.EINVAL, 'not a mount any more');
    t.equal(await sys.umount2Async(b('a\0b'), 0), -E.EINVAL);
    t.equal(await sys.umount2Async(b('x'.repeat(5000)), 0), -E.ENAMETOOLONG);
    t.equal(sys.mount(b('none'), b(`${bytes}/absent`), b('tmpfs'), 0, b('')), -E.ENOENT);
    t.equal(sys.mount(b('tmpfs'), at, b('tmpfs'), 0, b('x'.repeat(5000))), -E.ENAMETOOLONG);
    t.equal(sys.open_tree(c.AT_FDCWD, b(`${bytes}/absent`), c.O_CLOEXEC), -E.ENOENT);
  },
);
