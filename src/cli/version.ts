import { readFileSync } from 'node:fs';

/** This package's version. */
export function packageVersion(): string {
  // From dist/src/cli/.
  const description = JSON.parse(
    readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
  ) as { version: string };
  return description.version;
}
