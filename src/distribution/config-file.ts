/**
 * Files that say how registries are reached: docker's and podman's, of the user or of the machine.
 * They are the user's own, so links are followed; but what is read is a file, and of bounded size.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { messageOf, PlyfsError } from '../base/error.js';

/** `process.env`, or what a test has in its place. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The largest known, with a thousand registries, have some hundred kB. */
const CONFIG_FILE_BYTES_MAX = 4 << 20;

export function homeOf(environment: Environment): string {
  const { HOME: home } = environment;
  return home === undefined || home === '' ? homedir() : home;
}

/** Undefined where there is none. Throws `config-unreadable`. */
export function readConfigFile(path: string): Buffer | undefined {
  const unreadable = (why: string, cause?: unknown): PlyfsError =>
    new PlyfsError('config-unreadable', `${path} cannot be read: ${why}.`, { cause });
  let fd: number;
  try {
    // What blocks when it is opened (a FIFO) is no file.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw unreadable(messageOf(error), error);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw unreadable('it is not a file');
    if (stat.size > CONFIG_FILE_BYTES_MAX)
      throw unreadable(`it has more than ${CONFIG_FILE_BYTES_MAX} bytes`);
    return readFileSync(fd);
  } catch (error) {
    throw error instanceof PlyfsError ? error : unreadable(messageOf(error), error);
  } finally {
    closeSync(fd);
  }
}

/** In byte order; none where there is no such directory. Throws `config-unreadable`. */
export function listConfigDirectory(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw new PlyfsError('config-unreadable', `${path} cannot be read: ${messageOf(error)}.`, {
      cause: error,
    });
  }
}

function isMissing(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    (error.code === 'ENOENT' || error.code === 'ENOTDIR')
  );
}
