/** chmod(2), chown(2), set-id bits, setgid directories, stat(2), statfs(2). */
import { O_RDWR, O_WRONLY, S_IFMT } from '../constants.js';
import { asRoot, nobody, type PosixCases } from '../posix-suite.js';
import { makeEveryType } from './types.js';

export const metadataCases: PosixCases = {
  'chmod changes the mode of every type, through symlinks too, and nothing else': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const [i, type] of ['file', 'dir', 'fifo', 'socket'].entries()) {
      const before = await s.actor.lstat(type);
      await s.actor.chmod(type, 0o700 + i);
      const after = await s.actor.lstat(type);
      s.t.equal(after.mode, (before.mode & S_IFMT) | (0o700 + i), type);
      const { uid, gid, size, mtime, ino, rdev } = before;
      s.t.match(after, { uid, gid, mtime, ino, rdev, ...(type === 'dir' ? {} : { size }) }, type);
    }
    await s.actor.chmod('link', 0o611);
    s.t.equal((await s.actor.lstat('file')).mode & 0o7777, 0o611);
    await s.fails('ENOENT', s.actor.chmod('dangling', 0o600));
    s.t.equal(await s.actor.get('dir/inside'), 'inside');
  },

  'all twelve mode bits are kept': async (s) => {
    await s.actor.put('old', 'x');
    await s.actor.mkdir('dir');
    await s.settle();
    for (const mode of [0o7777, 0o4755, 0o2755, 0o1755, 0o0000, 0o6711]) {
      await s.actor.chmod('old', mode);
      s.t.equal((await s.actor.lstat('old')).mode & 0o7777, mode);
      await s.actor.chmod('dir', mode);
      s.t.equal((await s.actor.lstat('dir')).mode & 0o7777, mode);
    }
    await s.actor.chmod('dir', 0o755);
  },

  'fchmod works on a descriptor opened for reading': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const fd = await s.actor.open('old');
    await s.actor.fchmod(fd, 0o4711);
    s.t.equal((await s.actor.lstat('old')).mode & 0o7777, 0o4711);
    s.t.equal(await s.actor.read(fd, 10), 'content');
  },

  'chown that leaves both ids takes set-id bits away, and needs the owner where there are any':
    asRoot(async (s) => {
      const files = ['theirs', 'others', 'plain', 'roots', 'written'];
      for (const name of files) await s.actor.put(name, 'x');
      await s.actor.mkdir('dir');
      await s.actor.chown('theirs', nobody.uid, nobody.gid);
      const modes = {
        theirs: 0o6755,
        others: 0o4755,
        plain: 0o755,
        roots: 0o6755,
        written: 0o4777,
        dir: 0o2777,
      };
      for (const [name, mode] of Object.entries(modes)) await s.actor.chmod(name, mode);
      await s.settle();
      const user = await s.start({ identity: nobody });
      await user.chown('theirs', -1, -1);
      await s.fails('EPERM', user.chown('others', -1, -1));
      await s.fails('EPERM', user.chown('roots', -1, -1));
      await user.chown('plain', -1, -1);
      await user.chown('dir', -1, -1);
      // Linux sends a union over FUSE the same request before such a write.
      const fd = await user.open('written', O_WRONLY);
      await user.write(fd, 'y');
      await s.actor.chown('roots', -1, -1);
      const expected = {
        theirs: 0o755,
        others: 0o4755,
        plain: 0o755,
        roots: 0o755,
        written: 0o777,
        dir: 0o2777,
      };
      for (const [name, mode] of Object.entries(expected))
        s.t.equal((await s.actor.lstat(name)).mode & 0o7777, mode, name);
    }),

  'chown changes owner and group of every type, -1 leaves one': asRoot(async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of ['file', 'dir', 'link', 'fifo', 'socket', 'device']) {
      await s.actor.lchown(type, 1000, 2000);
      s.t.match(await s.actor.lstat(type), { uid: 1000, gid: 2000 }, type);
      await s.actor.lchown(type, -1, 3000);
      s.t.match(await s.actor.lstat(type), { uid: 1000, gid: 3000 }, type);
      await s.actor.lchown(type, 4_000_000_000, -1);
      s.t.match(await s.actor.lstat(type), { uid: 4_000_000_000, gid: 3000 }, type);
    }
    s.t.match(await s.actor.lstat('device'), { rdev: '1:3' });
    s.t.equal(await s.actor.get('file'), 'content of a file\n');
  }),

  'an ordinary user may not chown away nor chmod what is not his': asRoot(async (s) => {
    await s.actor.put('mine', 'x');
    await s.actor.lchown('mine', 65534, 65534);
    await s.actor.put('roots', 'x', 0o666);
    await s.settle();
    const user = await s.start({ identity: { ...nobody, groups: [777] } });
    await s.fails('EPERM', user.lchown('mine', 0, -1));
    await s.fails('EPERM', user.lchown('mine', -1, 1));
    await user.lchown('mine', -1, 777);
    await user.chmod('mine', 0o640);
    await s.fails('EPERM', user.chmod('roots', 0o777));
    await s.fails('EPERM', user.lchown('roots', 65534, -1));
    s.t.match(await s.actor.lstat('mine'), { uid: 65534, gid: 777 });
  }),

  'chown by an ordinary owner clears set-id bits of a file, not of a directory': asRoot(
    async (s) => {
      await s.actor.put('file', 'x');
      await s.actor.mkdir('dir');
      for (const name of ['file', 'dir']) {
        await s.actor.lchown(name, 65534, 65534);
        await s.actor.chmod(name, 0o6755);
      }
      await s.settle();
      const user = await s.start({ identity: { ...nobody, groups: [777] } });
      for (const name of ['file', 'dir']) await user.lchown(name, -1, 777);
      s.t.equal((await s.actor.lstat('file')).mode & 0o7777, 0o755);
      s.t.equal((await s.actor.lstat('dir')).mode & 0o7777, 0o6755);
    },
  ),

  'chown follows a symbolic link, lchown does not': asRoot(async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.chown('link', 11, 12);
    s.t.match(await s.actor.lstat('file'), { uid: 11, gid: 12 });
    s.t.match(await s.actor.lstat('link'), { uid: 0, gid: 0 });
    await s.actor.lchown('link', 13, 14);
    s.t.match(await s.actor.lstat('file'), { uid: 11, gid: 12 });
    s.t.match(await s.actor.lstat('link'), { uid: 13, gid: 14 });
    await s.fails('ENOENT', s.actor.chown('dangling', 1, 1));
  }),

  'chown by root clears set-id bits of an executable': asRoot(async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.chmod('file', 0o6755);
    await s.settle();
    await s.actor.lchown('file', 5, 5);
    s.t.equal((await s.actor.lstat('file')).mode & 0o7777, 0o755);
  }),

  'a write by an ordinary user clears set-id bits, by root it does not': asRoot(async (s) => {
    for (const name of ['written', 'truncated', 'opened', 'roots', 'read']) {
      await s.actor.put(name, 'content');
      await s.actor.chmod(name, 0o6777);
    }
    await s.settle();
    const user = await s.start({ identity: nobody });
    const fd = await user.open('written', O_WRONLY);
    s.t.equal((await s.actor.lstat('written')).mode & 0o7777, 0o6777, 'opening clears nothing');
    await user.write(fd, 'x');
    s.t.equal((await s.actor.lstat('written')).mode & 0o7777, 0o777, 'write');
    await user.truncate('truncated', 3);
    s.t.equal((await s.actor.lstat('truncated')).mode & 0o7777, 0o777, 'truncate');
    await user.put('opened', 'x');
    s.t.equal((await s.actor.lstat('opened')).mode & 0o7777, 0o777, 'O_TRUNC');
    await s.actor.put('roots', 'x');
    const rootFd = await s.actor.open('roots', O_RDWR);
    await s.actor.write(rootFd, 'y');
    s.t.equal((await s.actor.lstat('roots')).mode & 0o7777, 0o6777, 'root');
    await user.get('read');
    s.t.equal((await s.actor.lstat('read')).mode & 0o7777, 0o6777, 'reading');
  }),

  'setgid without group execution is kept by a write (it meant mandatory locking)': asRoot(
    async (s) => {
      await s.actor.put('file', 'x');
      await s.actor.lchown('file', 65534, 65534);
      await s.actor.chmod('file', 0o2666);
      await s.settle();
      const user = await s.start({ identity: nobody });
      const fd = await user.open('file', O_WRONLY);
      await user.write(fd, 'y');
      s.t.equal((await s.actor.lstat('file')).mode & 0o7777, 0o2666);
    },
  ),

  "chmod by an owner outside the file's group drops setgid": asRoot(async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.lchown('file', 65534, 777);
    await s.settle();
    const user = await s.start({ identity: nobody });
    await user.chmod('file', 0o2755);
    s.t.equal((await s.actor.lstat('file')).mode & 0o7777, 0o755);
    await s.actor.chmod('file', 0o2755);
    s.t.equal((await s.actor.lstat('file')).mode & 0o7777, 0o2755);
  }),

  'a setgid directory gives its group to all, and setgid to directories': asRoot(async (s) => {
    await s.actor.mkdir('shared');
    await s.actor.lchown('shared', 0, 777);
    await s.actor.chmod('shared', 0o2777);
    await s.settle();
    const user = await s.start({ identity: { uid: 1234, gid: 1234 } });
    await user.put('shared/file', 'x');
    await user.mkdir('shared/dir', 0o755);
    await user.symlink('x', 'shared/link');
    await user.mknod('shared/fifo', 0o010644);
    for (const name of ['file', 'dir', 'link', 'fifo'])
      s.t.match(await s.actor.lstat(`shared/${name}`), { uid: 1234, gid: 777 }, name);
    s.t.equal((await s.actor.lstat('shared/dir')).mode & 0o7777, 0o2755);
    s.t.equal((await s.actor.lstat('shared/file')).mode & 0o7777, 0o644);
    await user.mkdir('shared/dir/sub', 0o755);
    s.t.match(await s.actor.lstat('shared/dir/sub'), { gid: 777 });
  }),

  'a setgid executable made in a setgid directory by an outsider loses setgid': asRoot(
    async (s) => {
      await s.actor.mkdir('shared');
      await s.actor.lchown('shared', 0, 777);
      await s.actor.chmod('shared', 0o2777);
      await s.settle();
      const user = await s.start({ identity: { uid: 1234, gid: 1234 }, umask: 0 });
      await user.open('shared/new', 0o102, 0o2777);
      s.t.match(await s.actor.lstat('shared/new'), { gid: 777 });
      s.t.equal((await s.actor.lstat('shared/new')).mode & 0o7777, 0o777);
    },
  ),

  'stat tells sizes, blocks and one device': async (s) => {
    await s.actor.put('old', 'x'.repeat(10_000));
    await makeEveryType(s.actor);
    await s.settle();
    const st = await s.actor.lstat('old');
    s.t.equal(st.size, 10_000);
    s.t.ok(st.blocks >= 20, `blocks of 512 bytes: ${st.blocks}`);
    const devices = new Set<string>();
    for (const name of ['.', 'old', 'dir', 'link', 'fifo', 'dir/inside'])
      devices.add((await s.actor.lstat(name)).dev);
    s.t.equal(devices.size, 1, 'st_dev is uniform');
  },

  'statfs tells the room there is': async (s) => {
    await s.settle();
    const v = await s.actor.statvfs('.');
    s.t.equal(v.namemax, 255);
    s.t.ok(v.blocks > 0 && v.bsize >= 512);
  },
};
