/** How the programs say what files of an image had to do without. */
import { lostSentence, type LostAttribute } from '../engine/lost-attributes.js';

export function warnOfLost(
  lost: readonly LostAttribute[] | undefined,
  warn: (sentence: string) => void,
): void {
  for (const each of lost ?? []) warn(lostSentence(each));
}
