/**
 * Programs that keep credentials: `docker-credential-NAME`, which docker and podman call alike
 * (docker-credential-helpers, README.md, "Development"). The action is the only argument; the
 * server's name, or JSON with the secret, goes to its stdin, so that no list of processes shows
 * one.
 */
import { spawn } from 'node:child_process';
import { readAll } from '../base/byte-source.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { JsonDocument } from '../image/json.js';
import type { Environment } from './config-file.js';
import { Secret } from './secret.js';

/** What a helper returns; a token of several kB is the largest known. */
const ANSWER_BYTES_MAX = 1 << 20;
/** credentials/error.go of docker-credential-helpers: what `get` and `erase` print. */
const NOT_FOUND = 'credentials not found in native keychain';

export interface HelperCredentials {
  readonly username: string;
  readonly secret: Secret;
}

/** Undefined when the helper has none for it. Throws `credential-helper-failed`. */
export async function getFromHelper(
  helper: string,
  server: string,
  environment: Environment,
): Promise<HelperCredentials | undefined> {
  const answer = await call(helper, 'get', server, environment);
  if (answer === undefined) return undefined;
  const json = new JsonDocument(
    'credential-helper-failed',
    `What ${programOf(helper)} returned for ${server}`,
  );
  const fields = json.struct(json.parse(answer), '', ['ServerURL', 'Username', 'Secret']);
  return {
    username: json.text(fields['Username'], 'Username'),
    secret: new Secret(json.text(fields['Secret'], 'Secret')),
  };
}

/** Throws `credential-helper-failed`. */
export async function storeInHelper(
  helper: string,
  server: string,
  { username, secret }: HelperCredentials,
  environment: Environment,
): Promise<void> {
  const record = { ServerURL: server, Username: username, Secret: secret.reveal() };
  await call(helper, 'store', JSON.stringify(record), environment);
}

/** False when there were none. Throws `credential-helper-failed`. */
export async function eraseFromHelper(
  helper: string,
  server: string,
  environment: Environment,
): Promise<boolean> {
  return (await call(helper, 'erase', server, environment)) !== undefined;
}

function programOf(helper: string): string {
  return `docker-credential-${helper}`;
}

/** Undefined when it says that it has no credentials for this server. */
async function call(
  helper: string,
  action: 'get' | 'store' | 'erase',
  input: string,
  environment: Environment,
): Promise<Buffer | undefined> {
  const program = programOf(helper);
  const failed = (why: string, cause?: unknown): PlyfsError =>
    new PlyfsError(
      'credential-helper-failed',
      `The credential helper ${program} failed (${why}): see credsStore and credHelpers in your configuration of registries.`,
      { cause },
    );
  // A helper is looked for along PATH only.
  if (!/^[\w.-]+$/.test(helper)) throw failed('that is not the name of a helper');
  const child = spawn(program, [action], { stdio: ['pipe', 'pipe', 'inherit'], env: environment });
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve(status ?? -1));
  });
  // A helper that does not read its input closes the pipe: its status says why.
  child.stdin.on('error', () => undefined).end(input);
  try {
    const [answer, status] = await Promise.all([readAll(child.stdout, ANSWER_BYTES_MAX), ended]);
    if (answer === undefined) throw failed(`it returned more than ${ANSWER_BYTES_MAX} bytes`);
    if (status === 0) return answer;
    const text = answer.toString('utf8').trim();
    if (text.includes(NOT_FOUND)) return undefined;
    throw failed(action === 'get' && text !== '' ? text.slice(0, 200) : `status ${status}`);
  } catch (error) {
    if (error instanceof PlyfsError) throw error;
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw failed(missing ? 'no such program is installed' : messageOf(error), error);
  } finally {
    child.kill();
    child.stdout.destroy();
  }
}
