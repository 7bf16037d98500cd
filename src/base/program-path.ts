/** Where a program is that is called by its name alone. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * As execvp(3) would find it by PATH: absolute, if the directories there are; undefined where there
 * is none.
 */
export function programPath(name: string): string | undefined {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Perhaps in the next.
    }
  }
  return undefined;
}
