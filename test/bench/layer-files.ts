/** Making many files fast, and the one kind that node:fs cannot make. */
import fs from 'node:fs';
import { dirname } from 'node:path';
import { bytesOf } from '../../src/base/bytes.js';
import { check } from '../../src/base/errno.js';
import { sys } from '../../src/sys/index.js';

const S_IFCHR = 0o020000;
const AT_FDCWD = -100;

/** With its parents. */
export function mkdirSync(path: string): void {
  fs.mkdirSync(path, { recursive: true });
}

/**
 * What another layer of the same name has is not touched: an old file is replaced, a whiteout too.
 */
export function writeFileSync(path: string, data: Uint8Array): void {
  fs.rmSync(path, { force: true });
  fs.writeFileSync(path, data);
}

/** A whiteout. */
export function mknodCharacter(path: string): void {
  fs.mkdirSync(dirname(path), { recursive: true });
  fs.rmSync(path, { force: true });
  check(sys.mknodat(AT_FDCWD, bytesOf(path), S_IFCHR, 0, 0), path);
}
