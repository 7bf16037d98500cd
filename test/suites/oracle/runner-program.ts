/** The process of runner.ts. */
import { scenario } from './generate.js';
import { Bench, Difference, Grounds, newFigures, runScenario } from './run-scenario.js';
import type { Result, Task } from './runner.js';
import { Abandoned } from './side.js';

let bench: Bench | undefined;

/** In fresh directories, of which nothing is left. */
async function run({ places, seed = 0, length = 0, ...task }: Task): Promise<Result> {
  const figures = newFigures();
  bench ??= await Bench.start(places);
  const grounds = await Grounds.make(places);
  try {
    await runScenario(task.scenario ?? scenario(seed, length), bench, grounds, figures);
    await grounds.leave(bench.disk);
    return { figures };
  } catch (error) {
    await bench.end();
    bench = undefined;
    await grounds.abandon();
    return {
      figures,
      failure: {
        message: error instanceof Error ? error.message : String(error),
        kind:
          error instanceof Difference
            ? 'difference'
            : error instanceof Abandoned
              ? 'abandoned'
              : 'error',
        applied: error instanceof Difference ? error.applied : 0,
      },
    };
  }
}

async function end(): Promise<void> {
  await bench?.end();
  process.exit(0);
}

process.on('message', (task: Task | 'end') => {
  void (task === 'end' ? end() : run(task).then((result) => process.send?.(result)));
});
process.once('disconnect', () => void end());
