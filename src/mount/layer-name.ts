/** How a layer of a mount is called in front of a user. `index` 0: the upper. */
export function layerName(index: number): string {
  return index === 0 ? 'upper' : `layer ${index}`;
}
