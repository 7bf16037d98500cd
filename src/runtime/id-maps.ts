/**
 * Which ids a user has for a user namespace, and giving them to one (user_namespaces(7),
 * subuid(5)).
 *
 * Root of the namespace is the user. A range that root has granted in /etc/subuid and /etc/subgid
 * follows from 1 on, mapped by newuidmap and newgidmap; without, the namespace has room for that
 * one id.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { PlyfsError } from '../base/error.js';
import { programPath } from '../base/program-path.js';

export interface IdRange {
  readonly start: number;
  readonly count: number;
}

export interface IdRanges {
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
}

/** Undefined where the user has none, or nothing that could map them. */
export function subordinateRanges(): IdRanges | undefined {
  if (programPath('newuidmap') === undefined || programPath('newgidmap') === undefined)
    return undefined;
  const names = ownNames();
  const uids = rangesIn('/etc/subuid', names);
  const gids = rangesIn('/etc/subgid', names);
  return uids.length === 0 || gids.length === 0 ? undefined : { uids, gids };
}

/** Lines `NAME:START:COUNT`, of a name or a number. */
export function rangesOf(content: string, names: readonly string[]): IdRange[] {
  const found: IdRange[] = [];
  for (const line of content.split('\n')) {
    const match = /^([^:#\s]+):(\d{1,10}):(\d{1,10})\s*$/.exec(line);
    if (match === null || !names.includes(match[1] as string)) continue;
    const [start, count] = [Number(match[2]), Number(match[3])];
    if (count > 0 && start + count <= 0xffffffff) found.push({ start, count });
  }
  return found;
}

function rangesIn(path: string, names: readonly string[]): IdRange[] {
  try {
    return rangesOf(readFileSync(path, 'latin1'), names);
  } catch {
    return [];
  }
}

function ownNames(): string[] {
  const uid = String(process.geteuid?.() ?? 0);
  try {
    return [uid, userInfo().username];
  } catch {
    // No entry in /etc/passwd.
    return [uid];
  }
}

/**
 * Of `own` and what follows it: the map from ids inside to those outside, as the words that
 * newuidmap takes.
 */
export function mapWords(own: number, ranges: readonly IdRange[]): number[][] {
  const rows = [[0, own, 1]];
  let inside = 1;
  for (const { start, count } of ranges) {
    rows.push([inside, start, count]);
    inside += count;
  }
  return rows;
}

/**
 * Gives the user namespace of process `pid`, a child of this one, its ids. Throws `id-map-failed`.
 */
export function writeIdMaps(pid: number, ranges: IdRanges | undefined): void {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  if (ranges === undefined) {
    try {
      writeFileSync(`/proc/${pid}/uid_map`, `0 ${uid} 1\n`);
      writeFileSync(`/proc/${pid}/setgroups`, 'deny');
      writeFileSync(`/proc/${pid}/gid_map`, `0 ${gid} 1\n`);
    } catch (error) {
      throw new PlyfsError(
        'id-map-failed',
        'The kernel refuses to map your id in a user namespace: ask whether those are allowed here.',
        {
          cause: error,
        },
      );
    }
    return;
  }
  for (const [program, rows] of [
    ['newuidmap', mapWords(uid, ranges.uids)],
    ['newgidmap', mapWords(gid, ranges.gids)],
  ] as const) {
    const done = spawnSync(program, [String(pid), ...rows.flat().map(String)], {
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    if (done.status === 0) continue;
    const why = done.error?.message ?? done.stderr.trim().split('\n').at(-1) ?? '';
    throw new PlyfsError(
      'id-map-failed',
      `${program} cannot map your ids (${why}): check that it is setuid root, and your lines in /etc/subuid and /etc/subgid.`,
    );
  }
}
