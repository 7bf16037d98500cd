/** One thing done to several objects: one that fails keeps none of the others from it. */
export async function forEach<Word, Done>(
  words: readonly Word[],
  act: (word: Word) => Promise<Done>,
  show: (done: readonly Done[]) => Promise<void>,
): Promise<void> {
  const done: Done[] = [];
  const failures: unknown[] = [];
  for (const word of words) {
    try {
      done.push(await act(word));
    } catch (error) {
      failures.push(error);
    }
  }
  await show(done);
  // The first reason is told in the end.
  if (failures.length > 0) throw failures[0];
}
