/** Options of all commands that speak to registries. */
import { Option } from 'commander';

export interface RegistryOptions {
  readonly tlsVerify?: 'true' | 'false';
}

export function tlsVerifyOption(): Option {
  return new Option(
    '--tls-verify <BOOL>',
    'true or false: whether registries have to prove who they are; default: as registries.conf says',
  ).choices(['true', 'false']);
}

/** Undefined: as the configuration says. */
export function tlsVerifyOf({ tlsVerify }: RegistryOptions): boolean | undefined {
  return tlsVerify === undefined ? undefined : tlsVerify === 'true';
}
