/**
 * Certificates for registries: those of the system, and what `certs.d` has for one registry
 * (containers-certs.d(5); docker, "Verify repository client with certificates").
 *
 *     ~/.config/containers/certs.d/HOST[:PORT]/    *.crt         certificate authorities
 *     /etc/containers/certs.d/HOST[:PORT]/         NAME.cert     a client's certificate, and
 *     /etc/docker/certs.d/HOST[:PORT]/             NAME.key      its key
 *
 * The first of the directories that is there counts.
 */
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { PlyfsError } from '../base/error.js';
import { homeOf, listConfigDirectory, readConfigFile, type Environment } from './config-file.js';

export interface Certificates {
  /** PEM: whom to believe. Node's own list where the system has none. */
  readonly authorities: readonly string[];
  /** PEM: what the client shows of itself. */
  readonly clients: readonly { readonly certificate: string; readonly key: string }[];
}

/** crypto/x509/root_linux.go, certFiles: Debian, Fedora, openSUSE, older ones, Alpine. */
const systemBundles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/ssl/cert.pem',
];

/**
 * `host`: as references have it, `docker.io` or `localhost:5000`. Throws `certificates-invalid`,
 * `config-unreadable`.
 */
export function certificatesFor(host: string, environment: Environment): Certificates {
  const { directory, names } = directoryFor(host, environment);
  const texts = (suffix: string): string[] =>
    names.filter((name) => name.endsWith(suffix)).map((name) => join(directory, name));
  const keys = new Set(texts('.key'));
  const clients = texts('.cert').map((path) => {
    const keyPath = path.replace(/\.cert$/, '.key');
    if (!keys.delete(keyPath)) throw invalid(`${path} has no key: put it beside it as ${keyPath}`);
    return { certificate: pemIn(path, 'CERTIFICATE'), key: pemIn(keyPath, 'PRIVATE KEY') };
  });
  const [alone] = keys;
  if (alone !== undefined)
    throw invalid(
      `${alone} has no certificate: put it beside it as ${alone.replace(/\.key$/, '.cert')} (*.crt are authorities)`,
    );
  return {
    authorities: [
      ...systemAuthorities(environment),
      ...texts('.crt').map((path) => pemIn(path, 'CERTIFICATE')),
    ],
    clients,
  };
}

function directoryFor(
  host: string,
  environment: Environment,
): { directory: string; names: string[] } {
  const candidates = [
    join(homeOf(environment), '.config/containers/certs.d'),
    '/etc/containers/certs.d',
    '/etc/docker/certs.d',
  ].map((parent) => join(parent, host));
  for (const directory of candidates) {
    const names = listConfigDirectory(directory);
    if (names.length > 0) return { directory, names };
  }
  return { directory: '', names: [] };
}

/** `SSL_CERT_FILE` names another bundle than the system's, as for docker and podman. */
function systemAuthorities({ SSL_CERT_FILE: own }: Environment): readonly string[] {
  if (own !== undefined && own !== '') return [pemIn(own, 'CERTIFICATE')];
  for (const path of systemBundles) {
    const bundle = readConfigFile(path);
    if (bundle !== undefined && bundle.length > 0) return [bundle.toString('latin1')];
  }
  return rootCertificates;
}

function pemIn(path: string, label: string): string {
  const text = readConfigFile(path)?.toString('latin1');
  if (text === undefined) throw invalid(`${path} is not there`);
  if (!new RegExp(`-----BEGIN [A-Z ]*${label}-----`).test(text))
    throw invalid(`${path} holds no ${label.toLowerCase()} in PEM`);
  return text;
}

function invalid(problem: string): PlyfsError {
  return new PlyfsError('certificates-invalid', `${problem}.`);
}
