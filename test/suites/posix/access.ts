/** Permissions of ordinary users: access(2), search and read permission, groups. */
import { F_OK, O_RDONLY, O_RDWR, O_WRONLY, R_OK, W_OK, X_OK } from '../constants.js';
import { asRoot, nobody, type PosixCases } from '../posix-suite.js';

export const accessCases: PosixCases = {
  'owner, group and others have their own bits': asRoot(async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.lchown('file', 1000, 2000);
    await s.actor.chmod('file', 0o421);
    await s.settle();
    const owner = await s.start({ identity: { uid: 1000, gid: 9 } });
    const member = await s.start({ identity: { uid: 1001, gid: 9, groups: [2000] } });
    const other = await s.start({ identity: nobody });
    for (const [actor, allowed] of [
      [owner, R_OK],
      [member, W_OK],
      [other, X_OK],
    ] as const) {
      for (const mode of [R_OK, W_OK, X_OK]) {
        if (mode === allowed) s.t.equal(await actor.access('file', mode), 0);
        else await s.fails('EACCES', actor.access('file', mode));
      }
      await s.fails('EACCES', actor.open('file', O_RDWR));
    }
    await owner.open('file', O_RDONLY);
    await member.open('file', O_WRONLY);
    await s.fails('EACCES', other.open('file', O_RDONLY));
    s.t.equal(await other.access('file', F_OK), 0);
  }),

  'root needs no permission but execution': asRoot(async (s) => {
    await s.actor.put('file', 'x', 0);
    await s.actor.mkdir('dir', 0);
    await s.settle();
    await s.actor.access('file', R_OK | W_OK);
    await s.fails('EACCES', s.actor.access('file', X_OK));
    await s.actor.put('dir/new', 'x');
    s.t.same(await s.actor.names('dir'), ['new']);
  }),

  'a mode that is none is EINVAL': async (s) => {
    await s.actor.put('file', 'x');
    await s.settle();
    await s.fails('EINVAL', s.actor.access('file', 8));
    s.t.equal(await s.actor.access('file', F_OK), 0);
  },

  'search permission is needed on the way, read permission to list': asRoot(async (s) => {
    await s.actor.mkdir('search');
    await s.actor.put('search/file', 'found');
    await s.actor.chmod('search', 0o711);
    await s.actor.mkdir('list');
    await s.actor.put('list/file', 'x');
    await s.actor.chmod('list', 0o744);
    await s.actor.mkdir('closed');
    await s.actor.mkdir('closed/sub');
    await s.actor.put('closed/sub/file', 'x');
    await s.actor.chmod('closed', 0o700);
    await s.settle();
    const user = await s.start({ identity: nobody });
    s.t.equal(await user.get('search/file'), 'found');
    await s.fails('EACCES', user.names('search'));
    s.t.same(await user.names('list'), ['file']);
    await s.fails('EACCES', user.stat('list/file'));
    await s.fails('EACCES', user.stat('closed/sub'));
    await s.fails('EACCES', user.stat('closed/sub/file'));
    await s.fails('EACCES', user.stat('closed/missing'));
    await s.fails('EACCES', user.names('closed'));
  }),

  'a permission taken or given counts at once': asRoot(async (s) => {
    await s.actor.put('file', 'x', 0o600);
    await s.settle();
    const user = await s.start({ identity: nobody });
    await s.fails('EACCES', user.open('file'));
    await s.actor.chmod('file', 0o644);
    await user.get('file');
    await s.actor.chmod('file', 0o600);
    await s.fails('EACCES', user.open('file'));
    await s.actor.lchown('file', 65534, 0);
    await user.put('file', 'mine now');
    s.t.equal(await s.actor.get('file'), 'mine now');
  }),

  'removing needs permission in the directory, not to the file': asRoot(async (s) => {
    await s.actor.mkdir('open');
    await s.actor.put('open/file', 'x', 0o600);
    await s.actor.mkdir('open/dir', 0o700);
    await s.actor.chmod('open', 0o777);
    await s.actor.mkdir('closed');
    await s.actor.put('closed/file', 'x', 0o666);
    await s.actor.chmod('closed/file', 0o666);
    await s.settle();
    const user = await s.start({ identity: nobody });
    await user.unlink('open/file');
    await user.rmdir('open/dir');
    await s.fails('EACCES', user.unlink('closed/file'));
    s.t.same(await s.actor.names('open'), []);
  }),

  'an ordinary user changes a file he may write, whoever owns it': asRoot(async (s) => {
    await s.actor.mkdir('dir', 0o755);
    await s.actor.put('dir/file', 'content');
    await s.actor.lchown('dir/file', 7, 8);
    await s.actor.chmod('dir/file', 0o666);
    await s.settle();
    const user = await s.start({ identity: nobody });
    const fd = await user.open('dir/file', O_RDWR);
    await user.write(fd, 'CON', 0);
    s.t.equal(await s.actor.get('dir/file'), 'CONtent');
    s.t.match(await s.actor.lstat('dir/file'), { uid: 7, gid: 8 });
    s.t.match(await s.actor.lstat('dir'), { uid: 0, gid: 0 });
  }),
};
