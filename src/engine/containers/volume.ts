/** What `-v` says: a directory or file of the host, shown in a container. */
import { existsSync, mkdirSync, realpathSync } from 'node:fs';
import { isUtf8 } from 'node:buffer';
import { textOf, type ByteString } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import type { Volume } from '../../runtime/plan.js';

/**
 * `SOURCE:TARGET[:OPTIONS]`. A source that is not there is made, a directory, as docker does.
 * Throws UsageError.
 */
export function volumeOf(word: ByteString): Volume {
  const [source = '', target = '', options = '', ...more] = word.split(':');
  const shown = textOf(word);
  if (source === '' || !target.startsWith('/') || more.length > 0)
    throw new UsageError(
      `'${shown}' is no volume: write it as SOURCE:/TARGET or SOURCE:/TARGET:ro`,
    );
  if (!/[/.]/.test(source))
    throw new UsageError(`'${shown}': there are no named volumes: give a path, as ./${source}`);
  let readOnly = false;
  for (const option of options === '' ? [] : options.split(',')) {
    if (option === 'ro') readOnly = true;
    // Labels and propagation that Docker knows come to nothing here.
    else if (!['rw', 'z', 'Z', 'rprivate', 'private'].includes(option))
      throw new UsageError(
        `'${shown}': the option '${textOf(option as ByteString)}' is unknown: use ro or rw`,
      );
  }
  const path = Buffer.from(source, 'latin1');
  if (!isUtf8(path)) throw new UsageError(`'${shown}' is not UTF-8: mount it under another name`);
  if (!existsSync(path)) mkdirSync(path, { recursive: true });
  return {
    source: realpathSync.native(path, 'buffer').toString('latin1') as ByteString,
    target: target as ByteString,
    readOnly,
  };
}
