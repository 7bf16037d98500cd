/**
 * The union's own extended attributes: hidden, and escaped when a caller means them (overlayfs.rst,
 * "Nesting overlayfs mounts").
 */
import { overlayPrefix } from '../mounters.js';
import type { UnionCases } from './scene.js';

const escaped = overlayPrefix.replace('overlay.', 'overlay.overlay.');

export const xattrCases: UnionCases = {
  'overlay.* of the layers is never shown': {
    layers: 2,
    run: async (s) => {
      await s.lay('lower2', { 'dir/x': 'x', file: 'x' });
      await s.lay('lower1', { 'dir/y': 'y' });
      await s.opaque('lower1/dir');
      await s.disk.setxattr('lower2/file', `${overlayPrefix}whatever`, 'x');
      await s.disk.setxattr('lower2/file', 'user.mine', 'x');
      await s.mount();
      s.t.same(await s.mnt.listxattr('dir'), []);
      s.t.same(await s.mnt.listxattr('file'), ['user.mine']);
      await s.fails('ENODATA', s.mnt.getxattr('file', `${overlayPrefix}whatever`));
      await s.fails('ENODATA', s.mnt.getxattr('dir', `${overlayPrefix}opaque`));
      await s.mnt.put('file', 'changed');
      s.t.same(await s.mnt.listxattr('file'), ['user.mine']);
    },
  },

  'overlay.* set through the mount is escaped on disk and read back': async (s) => {
    await s.lay('lower1', { 'dir/below': 'x' });
    await s.mount();
    await s.mnt.setxattr('dir', `${overlayPrefix}opaque`, 'y');
    s.t.equal(await s.mnt.getxattr('dir', `${overlayPrefix}opaque`), 'y');
    s.t.same(await s.mnt.listxattr('dir'), [`${overlayPrefix}opaque`]);
    s.t.equal(await s.disk.getxattr('upper/dir', `${escaped}opaque`), 'y');
    s.t.same(await s.mnt.names('dir'), ['below'], 'it does not become opaque');
    await s.remount();
    s.t.same(await s.mnt.names('dir'), ['below']);
    await s.mnt.removexattr('dir', `${overlayPrefix}opaque`);
    s.t.same(await s.mnt.listxattr('dir'), []);
  },

  'an escaped attribute of a lower is read unescaped': async (s) => {
    await s.lay('lower1', { file: 'x' });
    await s.disk.setxattr('lower1/file', `${escaped}nested`, 'deep');
    await s.mount();
    s.t.same(await s.mnt.listxattr('file'), [`${overlayPrefix}nested`]);
    s.t.equal(await s.mnt.getxattr('file', `${overlayPrefix}nested`), 'deep');
    await s.mnt.chmod('file', 0o600);
    s.t.equal(await s.mnt.getxattr('file', `${overlayPrefix}nested`), 'deep', 'after copy-up too');
  },

  'trusted.* is listed for callers with CAP_SYS_ADMIN only': {
    needsRoot: true,
    run: async (s) => {
      await s.lay('lower1', { file: 'x' });
      await s.disk.setxattr('lower1/file', 'trusted.mark', 'x');
      await s.disk.setxattr('lower1/file', 'user.mine', 'x');
      await s.mount();
      s.t.same((await s.mnt.listxattr('file')).sort(), ['trusted.mark', 'user.mine']);
      const user = await s.start({ identity: { uid: 65534, gid: 65534 } });
      s.t.same(await user.listxattr('file'), ['user.mine']);
    },
  },

  'an xattr set on a symlink stays on the symlink': {
    needsRoot: true,
    run: async (s) => {
      await s.disk.put('host-file', 'x');
      await s.lay('lower1', { file: 'x', link: '->file', out: `->${s.union.base}/host-file` });
      await s.mount();
      await s.mnt.setxattr('link', 'trusted.mark', 'link');
      await s.mnt.setxattr('out', 'trusted.mark', 'out');
      s.t.equal(await s.mnt.getxattr('link', 'trusted.mark'), 'link');
      s.t.same(await s.mnt.listxattr('file'), []);
      s.t.same(await s.disk.listxattr('host-file'), []);
      s.t.same(await s.disk.listxattr('lower1/link'), []);
    },
  },
};
