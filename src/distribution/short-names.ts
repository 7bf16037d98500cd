/**
 * What a name without a registry may mean when it is pulled: its alias, else a repository in one of
 * the registries to search, else one on Docker Hub (containers-registries.conf(5), "Short-Name
 * Aliasing").
 *
 * Everywhere but in a pull it is one on Docker Hub, as the store has it.
 */
import { PlyfsError } from '../base/error.js';
import {
  hasDomain,
  parseReference,
  tryParseReference,
  type Reference,
} from '../image/reference.js';
import type { RegistriesConf } from './registries-conf.js';

/**
 * In the order in which they are tried; the first that is there is meant. Throws
 * `reference-invalid`, `short-name-ambiguous`, `registries-conf-invalid`.
 */
export function pullCandidates(text: string, conf: RegistriesConf): Reference[] {
  const reference = parseReference(text);
  if (hasDomain(text)) return [reference];
  const at = /[:@]/.exec(text)?.index ?? text.length;
  const [name, suffix] = [text.slice(0, at), text.slice(at)];
  const alias = conf.aliases.get(name);
  if (alias !== undefined) return [named(alias, suffix, `The alias of ${name}`)];
  const { searchRegistries, shortNameMode } = conf;
  if (searchRegistries.length === 0) return [reference];
  if (searchRegistries.length > 1 && shortNameMode === 'enforcing')
    throw new PlyfsError(
      'short-name-ambiguous',
      `${text} could be in ${searchRegistries.join(', ')}: name the registry too, as ${searchRegistries[0]}/${text}.`,
    );
  return searchRegistries.map((host) =>
    named(`${host}/${name}`, suffix, `A name in the registry ${host}`),
  );
}

function named(name: string, suffix: string, what: string): Reference {
  const reference = hasDomain(name) ? tryParseReference(name + suffix) : undefined;
  if (reference === undefined || /[:@]/.test(name.slice(name.indexOf('/'))))
    throw new PlyfsError(
      'registries-conf-invalid',
      `${what} in registries.conf leads to "${name}", which is not the name of a repository with its registry.`,
    );
  return reference;
}
