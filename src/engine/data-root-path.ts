/** Where the data root is when nobody says. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * `/var/lib/plyfs`; for an ordinary user `plyfs` in the directory that the XDG base directory
 * specification gives.
 */
export function defaultDataRoot(): string {
  if (process.getuid?.() === 0) return '/var/lib/plyfs';
  const configured = process.env['XDG_DATA_HOME'] ?? '';
  // "If $XDG_DATA_HOME is either not set or empty …; all paths must be absolute."
  return join(configured.startsWith('/') ? configured : join(homedir(), '.local/share'), 'plyfs');
}
