/** Whether many layers cost more than one. */
import { readdirSync, writeFileSync } from 'node:fs';
import { DEEP_DIRECTORIES } from './layers.js';
import { shell, type Derived, type Scenario, type Sizes } from './workload.js';

/** Only names that the bottom has, in directories that every layer has. */
function writeNames(path: string, bottom: string): void {
  const names: string[] = [];
  for (let i = 0; i < DEEP_DIRECTORIES; i++) {
    const directory = `merged/d${i}`;
    for (const name of readdirSync(`${bottom}/${directory}`))
      if (name.startsWith('bottom')) names.push(`${directory}/${name}\n`);
  }
  writeFileSync(path, names.join(''));
}

const lookUp = shell('xargs stat -c %s <"$2/deep-names" >/dev/null');

export function depthScenarios({ deepNames }: Sizes): readonly Scenario[] {
  const names = deepNames.toLocaleString('en');
  return [
    {
      key: 'deep',
      stack: 'deep',
      prepare: async (shared, { lowers }) => {
        writeNames(`${shared}/deep-names`, lowers.at(-1)!);
      },
      steps: [
        {
          key: 'mount-deep',
          title: 'mount to first answer, 125 layers',
          unit: 'ms',
          measure: { figure: async ({ mountTime }) => mountTime },
          goal: { figure: 250 },
        },
        {
          key: 'lookup-deep',
          title: `stat of ${names} names in the bottom of 125 layers`,
          unit: 'ms',
          measure: lookUp,
        },
      ],
    },
    {
      key: 'flat',
      stack: 'flat',
      // What `deep` makes, when this is run alone.
      prepare: async (shared, { lowers }) => {
        writeNames(`${shared}/deep-names`, lowers.at(-1)!);
      },
      steps: [
        {
          key: 'lookup-flat',
          title: 'the same with that layer alone',
          unit: 'ms',
          measure: lookUp,
        },
      ],
    },
  ];
}

export const depthRatios: readonly Derived[] = [
  {
    key: 'lookup-depth',
    title: '125 layers over 1',
    over: ['lookup-deep', 'lookup-flat'],
    goal: { figure: 1.3 },
  },
];
