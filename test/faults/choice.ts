/** Which scenarios a run takes: PLYFS_FAULT_SCENARIO, a part of a name, narrows it to those. */
import { scenarios, type FaultScenario } from './scenarios.js';

const only = process.env['PLYFS_FAULT_SCENARIO'];

/** Those of the names given, else all. Throws for a name that is none. */
export function choose(...names: readonly string[]): Record<string, FaultScenario> {
  for (const name of names)
    if (scenarios[name] === undefined) throw new Error(`there is no scenario "${name}"`);
  const taken = Object.entries(scenarios).filter(
    ([name]) => names.length === 0 || names.includes(name),
  );
  return Object.fromEntries(taken.filter(([name]) => only === undefined || name.includes(only)));
}
