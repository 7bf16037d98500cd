/**
 * Makes a failing scenario small.
 *
 * Not left to fast-check: each try costs four mounts, and it knows nothing of what matters here:
 * that no operation after the failing one counts, and that most of those before it did nothing.
 */
import type { Layer, Scenario } from './scenario.js';

/**
 * Runs a scenario; resolves to the number of operations applied before it failed, or undefined when
 * it did not fail.
 */
export type Attempt = (scenario: Scenario) => Promise<number | undefined>;

/**
 * Resolves to the smallest failing scenario found before `deadline` (of `performance.now`).
 * `failing` fails after `applied` operations.
 */
export async function reduce(
  failing: Scenario,
  applied: number,
  attempt: Attempt,
  deadline: number,
): Promise<Scenario> {
  let smallest: Scenario = failing;
  const tries = async (candidate: Scenario): Promise<boolean> => {
    if (performance.now() > deadline) return false;
    const failedAfter = await attempt(candidate);
    if (failedAfter === undefined) return false;
    smallest = cut(candidate, failedAfter);
    return true;
  };
  await tries(cut(failing, applied));
  for (;;) {
    const before = JSON.stringify(smallest).length;
    await thin(
      () => smallest.operations,
      (operations) => tries({ ...smallest, operations }),
    );
    for (let i = 0; i < smallest.lowers.length; i++) {
      if (
        smallest.lowers.length > 1 &&
        (await tries({ ...smallest, lowers: smallest.lowers.filter((_, at) => at !== i) }))
      ) {
        i--;
        continue;
      }
      await thin(
        () => smallest.lowers[i]?.entries ?? [],
        (entries) =>
          tries({
            ...smallest,
            lowers: smallest.lowers.map((layer, at): Layer =>
              at === i ? { ...layer, entries } : layer,
            ),
          }),
      );
    }
    if (smallest.upper !== undefined) {
      const { upper: _upper, ...bare } = smallest;
      if (!(await tries(bare))) {
        await thin(
          () => smallest.upper?.entries ?? [],
          (entries) => tries({ ...smallest, upper: { entries } }),
        );
      }
    }
    if (performance.now() > deadline || JSON.stringify(smallest).length === before) return smallest;
  }
}

function cut(scenario: Scenario, applied: number): Scenario {
  return { ...scenario, operations: scenario.operations.slice(0, applied) };
}

/**
 * Leaves out runs of items, long ones first, as long as `keepsFailing` says so; `items` is asked
 * again after each success.
 */
async function thin<T>(
  items: () => readonly T[],
  keepsFailing: (fewer: readonly T[]) => Promise<boolean>,
): Promise<void> {
  for (let run = Math.max(1, items().length >> 1); ; run >>= 1) {
    for (let end = items().length; end > 0;) {
      const from = Math.max(0, end - run);
      const now = items();
      if (await keepsFailing([...now.slice(0, from), ...now.slice(end)]))
        end = Math.min(from, items().length);
      else end = from;
    }
    if (run <= 1) return;
  }
}
