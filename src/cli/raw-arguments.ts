import { readFileSync } from 'node:fs';
import { bytesOf, type ByteString } from '../base/bytes.js';

/**
 * The words after the script's own path, as the bytes they are. `process.argv` holds them decoded
 * as UTF-8, which loses every byte that is not; proc_pid_cmdline(5) has them whole. Without /proc
 * the decoded ones must do.
 */
export function rawArguments(): ByteString[] {
  const script = 1 + process.execArgv.length;
  try {
    const words = readFileSync('/proc/self/cmdline', 'latin1').split('\0');
    words.pop();
    return words.slice(script + 1) as ByteString[];
  } catch {
    return process.argv.slice(2).map(bytesOf);
  }
}
