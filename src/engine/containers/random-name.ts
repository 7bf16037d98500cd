/** Names for what was given none, as docker makes them: `gentle_heron`. */
import { adjectives, animals, uniqueNamesGenerator } from 'unique-names-generator';

/** Until one is free; then with a number, of which some must be. */
export function randomName(isTaken: (name: string) => boolean): string {
  for (let attempt = 0; ; attempt++) {
    const words = uniqueNamesGenerator({
      dictionaries: [adjectives, animals],
      style: 'lowerCase',
    }).replace(/[^a-z]+/g, '_');
    const name = attempt < 10 ? words : `${words}${attempt}`;
    if (!isTaken(name)) return name;
  }
}
