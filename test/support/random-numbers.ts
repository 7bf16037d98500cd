/**
 * xorshift32: the same numbers in every run. `seed` is not 0; the function returned gives a whole
 * number from 0 and below `below`.
 */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
