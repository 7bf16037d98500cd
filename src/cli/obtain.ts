/** `--pull` of the commands that work on an image. */
import { textOf, type ByteString } from '../base/bytes.js';
import type { DataRoot } from '../engine/data-root.js';
import type { ObjectKind } from '../engine/find-object.js';
import { obtain, pullPolicyOf, type Obtained } from '../engine/images/obtain.js';
import type { CommandContext } from './command.js';
import { pullProgress } from './pull-progress.js';

export const PULL_OPTION = [
  '--pull <missing|always|never>',
  'whether an image is fetched from its registry (default: missing)',
] as const;

/**
 * What the word means, pulled where that is to be. Signals abort the pull; nothing else is asked of
 * `context`. Throws what `obtain` throws.
 */
export function obtainFor(
  context: Pick<CommandContext, 'openRoot' | 'progress' | 'signal' | 'warn'>,
  root: DataRoot,
  word: string,
  kinds: readonly [ObjectKind, ...ObjectKind[]],
  policy: ByteString | undefined,
): Promise<Obtained> {
  return obtain(root, word, {
    policy: policy === undefined ? 'missing' : pullPolicyOf(textOf(policy)),
    kinds,
    environment: process.env,
    toWrite: () => context.openRoot(true),
    onPull: async () => {
      context.warn(`Pulling ${word}.`);
      return pullProgress(context, false);
    },
    onWarning: context.warn,
    signal: context.signal,
  });
}
