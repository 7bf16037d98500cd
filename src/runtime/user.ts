/**
 * Whom a container runs as: `USER[:GROUP]` by the passwd and group files of its image (moby,
 * user/user.go, GetExecUser).
 */
import { textOf, type ByteString } from '../base/bytes.js';
import { PlyfsError } from '../base/error.js';

export interface User {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary. */
  readonly groups: readonly number[];
  readonly home: ByteString;
}

/** `read`: the content of a file of the image, or an empty one. Throws `user-unknown`. */
export function findUser(spec: ByteString, read: (path: string) => string): User {
  const [name, group] = splitOnce(spec === '' ? '0' : spec);
  const passwd = rows(read('/etc/passwd')).find(
    (row) => row[0] === name || (isId(name) && row[2] === name),
  );
  const uid = passwd === undefined ? (isId(name) ? Number(name) : undefined) : idOf(passwd[2]);
  if (uid === undefined) {
    throw new PlyfsError(
      'user-unknown',
      `There is no user '${textOf(name as ByteString)}' in the image's /etc/passwd: give a number.`,
    );
  }
  const home = (passwd?.[5] === undefined || passwd[5] === '' ? '/' : passwd[5]) as ByteString;
  const groups = rows(read('/etc/group'));
  if (group !== undefined && group !== '') {
    const row = groups.find(
      (candidate) => candidate[0] === group || (isId(group) && candidate[2] === group),
    );
    const gid = row === undefined ? (isId(group) ? Number(group) : undefined) : idOf(row[2]);
    if (gid === undefined) {
      throw new PlyfsError(
        'user-unknown',
        `There is no group '${textOf(group as ByteString)}' in the image's /etc/group: give a number.`,
      );
    }
    return { uid, gid, groups: [], home };
  }
  const own = passwd?.[0];
  const member = groups
    .filter((row) => own !== undefined && (row[3] ?? '').split(',').includes(own))
    .map((row) => idOf(row[2]));
  return {
    uid,
    gid: idOf(passwd?.[3]) ?? 0,
    groups: member.filter((gid) => gid !== undefined),
    home,
  };
}

function splitOnce(spec: string): [string, string?] {
  const colon = spec.indexOf(':');
  return colon < 0 ? [spec] : [spec.slice(0, colon), spec.slice(colon + 1)];
}

function rows(content: string): string[][] {
  return content.split('\n').map((line) => line.split(':'));
}

function isId(word: string): boolean {
  return idOf(word) !== undefined;
}

/** Up to INT_MAX, as runtimes take them. */
function idOf(word: string | undefined): number | undefined {
  return word !== undefined && /^\d{1,10}$/.test(word) && Number(word) <= 0x7fffffff
    ? Number(word)
    : undefined;
}
