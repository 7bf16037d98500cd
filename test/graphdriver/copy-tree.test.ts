/** A copied tree is the tree: owners, modes, attributes, times and hard links of every type. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, lchownSync, linkSync, lstatSync } from 'node:fs';
import { lutimesSync, mkdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs';
import { truncateSync, utimesSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { copyTree } from '../../src/graphdriver/copy-tree.js';
import { succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

const needsRoot = isRoot ? false : 'needs root: owners and devices';

/** version 2, cap_net_raw, permitted and effective (linux/capability.h, vfs_cap_data). */
const CAPABILITY = '0x0100000200200000000000000000000000000000';
/** Seconds since the epoch; a fraction that a double has exactly. */
const TIME = 1234.5;

/** What stat(2) says of each name, but the inode, and which names are one file. */
function shownOf(root: string, paths: readonly string[]): Record<string, unknown> {
  const first = new Map<bigint, string>();
  const shown: Record<string, unknown> = {};
  for (const path of paths) {
    const stat = lstatSync(`${root}/${path}`, { bigint: true });
    const { mode, uid, gid, nlink, rdev, mtimeNs, ino } = stat;
    const size = stat.isFile() ? stat.size : undefined;
    if (!first.has(ino)) first.set(ino, path);
    shown[path] = { mode, uid, gid, nlink, rdev, mtimeNs, size, is: first.get(ino) };
  }
  return shown;
}

t.test(
  'a tree with every type of file, each under several names',
  { skip: needsRoot },
  async (t) => {
    const base = await workspace(t, 'from/d/empty');
    const from = `${base}/from`;
    writeFileSync(`${from}/file`, 'content');
    writeFileSync(`${from}/hole`, '');
    truncateSync(`${from}/hole`, 1 << 20);
    writeFileSync(`${from}/capable`, 'x');
    symlinkSync('../outside', `${from}/link`);
    execFileSync('mkfifo', [`${from}/fifo`]);
    execFileSync('mknod', [`${from}/device`, 'c', '1', '3']);
    const files = ['file', 'link', 'fifo', 'device'];
    for (const name of files) linkSync(`${from}/${name}`, `${from}/d/${name}`);
    chownSync(`${from}/file`, 3, 4);
    chmodSync(`${from}/file`, 0o4750);
    lchownSync(`${from}/link`, 5, 6);
    chownSync(`${from}/fifo`, 7, 8);
    chownSync(`${from}/device`, 9, 10);
    chmodSync(`${from}/device`, 0o640);
    chownSync(`${from}/d`, 11, 12);
    chmodSync(`${from}/d`, 0o2711);
    await succeed(['setfattr', '-n', 'user.note', '-v', '0x00ff', `${from}/file`]);
    await succeed(['setfattr', '-n', 'user.note', '-v', 'd', `${from}/d`]);
    await succeed(['setfattr', '-n', 'security.capability', '-v', CAPABILITY, `${from}/capable`]);
    for (const name of files) lutimesSync(`${from}/${name}`, TIME, TIME);
    for (const name of ['capable', 'hole', 'd/empty', 'd', '.'])
      utimesSync(`${from}/${name}`, TIME, TIME);
    const paths = ['.', ...files, 'capable', 'hole', 'd', 'd/empty', ...files.map((n) => `d/${n}`)];
    const expected = shownOf(from, paths);

    mkdirSync(`${base}/aside`);
    copyTree(from, `${base}/aside/to`, `${base}/aside/links`);
    t.ok(existsSync(`${base}/aside/links`));
    await succeed(['rm', '-r', `${base}/aside/links`]);
    const to = `${base}/aside/to`;
    t.strictSame(shownOf(to, paths), expected);
    t.equal(readFileSync(`${to}/file`, 'latin1'), 'content');
    t.ok(lstatSync(`${to}/hole`).blocks < (1 << 20) / 512, 'a hole stays one');
    t.equal(readlinkSync(`${to}/link`), '../outside');
    const attributes = (root: string): Promise<string> =>
      succeed(['sh', '-c', `cd ${root} && getfattr -m - -d -e hex file d capable`]);
    t.equal(await attributes(to), await attributes(from));
    t.match(await attributes(to), CAPABILITY);
  },
);
