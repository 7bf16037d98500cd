/** `ply history`. */
import type { ChainId, ImageId } from '../../base/digest.js';
import { findImage } from '../../image/find-image.js';
import { historyOf } from '../../image/history.js';
import { familiarString } from '../../image/reference.js';
import type { DataRoot } from '../data-root.js';
import { parseTime } from './image-times.js';

export interface HistoryStep {
  /** Absent: the image after this step is not here. */
  readonly id?: ImageId;
  readonly chainId?: ChainId;
  readonly created?: Date;
  readonly createdBy: string;
  readonly comment: string;
  readonly size: number;
  readonly tags: readonly string[];
}

/** The newest step first. Throws what `findImage` throws. */
export function imageHistory(root: DataRoot, name: string): HistoryStep[] {
  return historyOf(findImage(name, root).image, root).map(({ created, tags, ...row }) => {
    const time = parseTime(created);
    return { ...row, ...(time !== undefined && { created: time }), tags: tags.map(familiarString) };
  });
}
