import t from 'tap';
import { BackingFiles } from '../../src/fuse/backing.js';
import { FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, FOPEN_PASSTHROUGH } from '../../src/fuse/protocol.js';
import { O_RDONLY, O_RDWR, O_WRONLY } from '../../src/sys/constants.js';
import type { NodeId } from '../../src/vfs/filesystem.js';
import { FakeSession } from './fake-session.js';

const node = 7 as NodeId;
const passed = { flags: FOPEN_PASSTHROUGH, backingId: 1003 };
const cached = { flags: FOPEN_KEEP_CACHE, backingId: 0 };

function setUp(): { session: FakeSession; changing: Set<NodeId>; files: BackingFiles } {
  const session = new FakeSession();
  const changing = new Set<NodeId>();
  return { session, changing, files: new BackingFiles(session, changing) };
}

t.test('one backing id for all handles of a node, taken back with the last', async (t) => {
  const { session, files } = setUp();
  t.same(files.open(node, 3, O_RDONLY, 0), passed);
  t.same(
    files.open(node, 5, O_WRONLY, 0o644),
    passed,
    'another descriptor of the same file changes nothing',
  );
  files.release(node, O_RDONLY);
  t.same(session.calls, ['backingOpen 3']);
  files.release(node, O_WRONLY);
  t.same(session.calls, ['backingOpen 3', 'backingClose 3']);
  t.same(files.open(node, 4, O_RDONLY, 0), { flags: FOPEN_PASSTHROUGH, backingId: 1004 });
});

t.test('the first handle decides: cached until all are closed', async (t) => {
  const { session, files } = setUp();
  t.same(files.open(node, -1, O_RDONLY, 0), cached);
  t.match(files.open(node, 3, O_WRONLY, 0), { backingId: 0 }, 'copied up meanwhile');
  files.release(node, O_RDONLY);
  t.match(files.open(node, 3, O_RDONLY, 0), { backingId: 0 });
  files.release(node, O_RDONLY);
  files.release(node, O_WRONLY);
  t.same(session.calls, []);
  t.same(files.open(node, 3, O_RDONLY, 0), passed);
});

t.test('what the kernel refuses to pass through is cached, and read anew', async (t) => {
  const { session, files } = setUp();
  session.backingOpen = () => -40;
  t.same(
    files.open(node, 3, O_RDONLY, 0),
    { flags: 0, backingId: 0 },
    'pages of an earlier time may be stale',
  );
  files.release(node, O_RDONLY);
  t.same(session.calls, []);
});

t.test('attributes are not kept while a handle may map to write', async (t) => {
  const { session, changing, files } = setUp();
  files.open(node, 3, O_WRONLY, 0o644);
  t.same([...changing], []);
  files.open(node, 3, O_RDWR, 0o644);
  files.open(node, 3, O_RDWR, 0o644);
  t.same([...changing], [node]);
  files.release(node, O_RDWR);
  t.same([...changing], [node]);
  files.release(node, O_RDWR);
  t.same([...changing], []);
  t.same(session.calls, ['backingOpen 3', `expireAttributes ${node}`]);
});

t.test('a file with set-id bits is written through us', async (t) => {
  const { files } = setUp();
  t.same(files.open(node, 3, O_WRONLY, 0o104755), {
    flags: FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO,
    backingId: 1003,
  });
});
