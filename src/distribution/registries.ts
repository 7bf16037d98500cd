/**
 * All registries, as the user's and the machine's configuration has them: what a command that
 * speaks to some makes once, and closes.
 */
import { PlyfsError } from '../base/error.js';
import type { Reference } from '../image/reference.js';
import { certificatesFor } from './certificates.js';
import type { Environment } from './config-file.js';
import { credentialsFor } from './credentials.js';
import { pullEndpoints, pushEndpoint, registryEndpoint, type Endpoint } from './endpoints.js';
import { HttpClient } from './http.js';
import { readRegistriesConf, type RegistriesConf } from './registries-conf.js';
import { RegistryClient } from './registry-client.js';
import { pullCandidates } from './short-names.js';

export interface RegistriesOptions {
  readonly environment: Environment;
  /** `--tls-verify`; what the configuration says, when absent. */
  readonly tlsVerify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class Registries {
  readonly #options: RegistriesOptions;
  readonly #http: HttpClient;
  #conf: RegistriesConf | undefined;

  constructor(options: RegistriesOptions) {
    this.#options = options;
    this.#http = new HttpClient({ environment: options.environment });
  }

  /** Throws what `pullCandidates` throws. */
  candidates(text: string): Reference[] {
    return pullCandidates(text, this.#settings());
  }

  /**
   * Of where a name's repository is read from: mirrors first. Throws what `pullEndpoints` throws.
   */
  toPull(reference: Reference): RegistryClient[] {
    return pullEndpoints(reference, this.#settings(), this.#verification()).map((endpoint) =>
      this.#client(endpoint, 'pull'),
    );
  }

  /**
   * Reads from the first of all places that a name may mean that has it: candidates in their order,
   * of each the mirrors first. Throws what the last of them throws.
   */
  async read<T>(
    text: string,
    work: (client: RegistryClient, reference: Reference) => Promise<T>,
  ): Promise<T> {
    const places = this.candidates(text).flatMap((reference) =>
      this.toPull(reference).map((client) => ({ client, reference })),
    );
    for (const [index, { client, reference }] of places.entries()) {
      try {
        return await work(client, reference);
      } catch (error) {
        const last = index === places.length - 1;
        if (last || !(error instanceof PlyfsError)) throw error;
      }
    }
    throw new PlyfsError('registry-missing', `${text} is in no registry.`);
  }

  /** Throws what `pushEndpoint` throws. */
  toPush(reference: Reference): RegistryClient {
    const endpoint = pushEndpoint(reference, this.#settings(), this.#verification());
    return this.#client(endpoint, 'pull,push');
  }

  /** To log in. */
  registry(registry: string): RegistryClient {
    const endpoint = registryEndpoint(registry, this.#settings(), this.#verification());
    return this.#client(endpoint, 'pull');
  }

  /** Ends all connections. */
  close(): Promise<void> {
    return this.#http.close();
  }

  #settings(): RegistriesConf {
    return (this.#conf ??= readRegistriesConf(this.#options.environment));
  }

  #verification(): { tlsVerify?: boolean } {
    const { tlsVerify } = this.#options;
    return tlsVerify === undefined ? {} : { tlsVerify };
  }

  #client(endpoint: Endpoint, actions: 'pull' | 'pull,push'): RegistryClient {
    const { environment, signal } = this.#options;
    return new RegistryClient(endpoint, {
      http: this.#http,
      credentials: () => credentialsFor(endpoint.scope, environment),
      certificates: () => certificatesFor(endpoint.configHost, environment),
      actions,
      signal,
    });
  }
}
