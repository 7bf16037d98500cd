/** For commands that also know mounts without a data root. */
import { PlyfsError } from '../base/error.js';
import { defaultDataRoot } from '../engine/data-root-path.js';
import type { DataRoot } from '../engine/data-root.js';
import { anyLayersMounted } from '../engine/mounts/list-mounts.js';
import type { CommandContext } from './command.js';

/**
 * Loads nothing of the store where there is nothing to ask it: unless `wanted`, for a root that was
 * named or has layers mounted.
 */
export async function rootIfAny(
  { globals, openRoot }: CommandContext,
  wanted: boolean,
): Promise<DataRoot | undefined> {
  if (globals.root === undefined && !wanted && !anyLayersMounted(defaultDataRoot()))
    return undefined;
  try {
    return await openRoot(false);
  } catch (error) {
    if (globals.root === undefined && error instanceof PlyfsError && error.code === 'root-missing')
      return undefined;
    throw error;
  }
}
