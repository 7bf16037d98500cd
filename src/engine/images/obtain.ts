/**
 * What `run`, `create` and `mount` are to work on, fetched where it is not there (docker's
 * `--pull`).
 */
import { messageOf, PlyfsError, UsageError } from '../../base/error.js';
import type { Environment } from '../../distribution/config-file.js';
import type { OnProgress } from '../../image/progress.js';
import { tryParseReference } from '../../image/reference.js';
import type { DataRoot } from '../data-root.js';
import { findObject, type ObjectKind } from '../find-object.js';

/** `missing`: an image that is not there is pulled; `always`: one that is there as well. */
export type PullPolicy = 'missing' | 'always' | 'never';

const policies: readonly PullPolicy[] = ['missing', 'always', 'never'];

/** Throws UsageError. */
export function pullPolicyOf(text: string): PullPolicy {
  const policy = policies.find((each) => each === text);
  if (policy === undefined)
    throw new UsageError(`'${text}' is no way to pull: use ${policies.join(', ')}`);
  return policy;
}

export interface ObtainOptions {
  readonly policy: PullPolicy;
  /** In the order in which they are meant. */
  readonly kinds: readonly [ObjectKind, ...ObjectKind[]];
  readonly environment: Environment;
  /** Opens the root to write, where `root` is open for reading. */
  readonly toWrite: () => Promise<DataRoot>;
  /** An image is about to be pulled. */
  readonly onPull: () => Promise<OnProgress | undefined>;
  readonly onWarning: (sentence: string) => void;
  readonly signal: AbortSignal;
}

export interface Obtained {
  readonly root: DataRoot;
  /** What it is called there. */
  readonly word: string;
}

/**
 * Throws `object-missing`, also where the image can be had nowhere; with `always`, what pulling
 * throws.
 */
export async function obtain(
  root: DataRoot,
  word: string,
  options: ObtainOptions,
): Promise<Obtained> {
  const { policy } = options;
  if (policy === 'never' || !mayBePulled(root, word, options)) return { root, word };
  const writable = root.readOnly ? await options.toWrite() : root;
  const { environment, onWarning, signal } = options;
  const onProgress = await options.onPull();
  // What speaks to registries is loaded by who does.
  const { pull } = await import('./pull.js');
  try {
    const [pulled] = await pull(writable, word, { environment, onProgress, onWarning, signal });
    return { root: writable, word: pulled?.familiar ?? word };
  } catch (error) {
    if (policy === 'always' || signal.aborted) throw error;
    throw new PlyfsError(
      'object-missing',
      `${writable.root} has no '${word}', and it cannot be pulled: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/** Whether the word is a name that is to be asked a registry for. */
function mayBePulled(root: DataRoot, word: string, { policy, kinds }: ObtainOptions): boolean {
  if (tryParseReference(word) === undefined) return false;
  try {
    const found = findObject(root, word, kinds);
    // An id is nobody's name elsewhere.
    return policy === 'always' && found.kind === 'image' && !found.image.id.includes(word);
  } catch (error) {
    if (error instanceof PlyfsError && error.code === 'object-missing') return true;
    throw error;
  }
}
