/** All that is measured, with what is aimed at for each row on two cores. */
import { dataScenarios } from './data-scenarios.js';
import { depthRatios, depthScenarios } from './depth-scenarios.js';
import { metadataScenarios } from './metadata-scenarios.js';
import { programScenarios } from './program-scenarios.js';
import type { Derived, Scenario, Sizes } from './workload.js';

export const fullSizes: Sizes = {
  smallFiles: 8000,
  createdFiles: 10_000,
  sequentialMiB: 1024,
  randomMiB: 512,
  randomOperations: 65_536,
  copiedUpMiB: 2048,
  deepNames: 4000,
  repositoryFiles: 4000,
  projectFiles: 60,
  npmTools: true,
  debianPackages: ['perl'],
};

/** To see that it works, and roughly how it stands. */
export const quickSizes: Sizes = {
  ...fullSizes,
  smallFiles: 800,
  createdFiles: 1000,
  sequentialMiB: 128,
  randomMiB: 64,
  randomOperations: 8192,
  copiedUpMiB: 256,
  deepNames: 400,
  repositoryFiles: 400,
  projectFiles: 20,
  npmTools: false,
};

export function scenariosOf(sizes: Sizes): readonly Scenario[] {
  return [
    ...metadataScenarios(sizes),
    ...dataScenarios(sizes),
    ...depthScenarios(sizes),
    ...programScenarios(sizes),
  ];
}

export const derivedRows: readonly Derived[] = depthRatios;
