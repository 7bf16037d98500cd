/** An image for containers, of the programs of this machine. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { tarOf } from './layer-tar.js';

const programs =
  'sh cat chmod chown env id ln ls mkdir mknod rm setpriv sleep stat stty touch tty'.split(' ');

/** Written to `directory`; returns the path of its tar. Readable for everybody. */
export async function containerImage(directory: string): Promise<string> {
  const tree = join(directory, 'tree');
  const copied = new Set<string>();
  const copy = (from: string, to: string): void => {
    if (copied.has(to)) return;
    copied.add(to);
    mkdirSync(join(tree, dirname(to)), { recursive: true });
    cpSync(realpathSync(from), join(tree, to));
  };
  for (const program of programs) {
    const path = execFileSync('sh', ['-c', 'command -v "$0"', program], {
      encoding: 'utf8',
    }).trim();
    copy(path, `/bin/${program}`);
    for (const [, library] of execFileSync('ldd', [path], { encoding: 'utf8' }).matchAll(
      /(\/[^\s)]+) \(0x/g,
    ))
      copy(library!, library!);
  }
  for (const name of ['etc', 'var/spool']) mkdirSync(join(tree, name), { recursive: true });
  writeFileSync(
    join(tree, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/srv/web:/bin/sh\n',
  );
  writeFileSync(join(tree, 'etc/group'), 'root:x:0:\nweb:x:33:\nmore:x:44:web\n');
  const tar = join(directory, 'image.tar');
  execFileSync('tar', ['-C', tree, '--owner=0', '--group=0', '--mode=a+rX', '-cf', tar, '.']);
  const special = join(directory, 'special.tar');
  writeFileSync(
    special,
    await tarOf([
      { name: 'owned', content: 'x', uid: 33, gid: 44, mode: 0o4755 },
      { name: 'spool/', type: 'directory', uid: 33, gid: 44, mode: 0o2770 },
      { name: 'node', type: 'character-device', mode: 0o666, devmajor: 1, devminor: 3 },
      { name: 'plain', content: '#!/bin/sh\n', mode: 0o644 },
      { name: 'tmp/', type: 'directory', mode: 0o1777 },
    ]),
  );
  execFileSync('tar', ['--concatenate', '-f', tar, special]);
  if (!existsSync(tar)) throw new Error('tar made nothing');
  return tar;
}
