/**
 * dockerd with a data root and a socket of its own and no network; it ends, by its own process id,
 * with the test.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { textOf, type ByteString } from '../../src/base/bytes.js';
import { run, succeed } from './command.js';
import { unmountAll } from './mounts.js';

/** Who is told what to do when the engine is not wanted any more: a test. */
export interface EngineOwner {
  teardown(end: () => Promise<void>): unknown;
}

export interface Engine {
  /** The client's program and the words that lead it to this engine. */
  readonly client: readonly string[];
  /** What the client prints, as text, without the space around it. */
  readonly docker: (...words: string[]) => Promise<string>;
  /** Ends it before the test does: its root is nobody's then. */
  readonly stop: () => Promise<void>;
}

/**
 * `base`: an existing directory, for all that it keeps (`root` is the data root). `path`: before
 * PATH, with a colon.
 */
export async function startDockerd(
  owner: EngineOwner,
  base: string,
  options: { storageDriver: string; path?: string },
): Promise<Engine> {
  const socket = `unix://${base}/socket`;
  const log = await open(`${base}/log`, 'w');
  const engine = spawn(
    'dockerd',
    [
      ...[
        '--iptables=false',
        '--ip6tables=false',
        '--bridge=none',
        '--storage-driver',
        options.storageDriver,
      ],
      ...[
        '--data-root',
        `${base}/root`,
        '--exec-root',
        `${base}/exec`,
        '-H',
        socket,
        '-p',
        `${base}/pid`,
      ],
    ],
    {
      env: {
        ...process.env,
        PATH: `${options.path ?? ''}${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`,
      },
      stdio: ['ignore', log.fd, log.fd],
    },
  );
  const exited = once(engine, 'exit');
  const stop = async (): Promise<void> => {
    engine.kill('SIGTERM');
    await exited;
    await unmountAll(base);
  };
  owner.teardown(async () => {
    await stop();
    await log.close();
  });
  // Debian's own client: another program of that name may come first in PATH.
  const client = ['/usr/bin/docker', '-H', socket];
  const ended = exited.then(() => true);
  while ((await run([...client, 'version'])).status !== 0) {
    if (await Promise.race([ended, Promise.resolve(false)]))
      throw new Error('dockerd ended before it answered: see its log');
  }
  return {
    client,
    docker: async (...words) => textOf((await succeed([...client, ...words])) as ByteString).trim(),
    stop,
  };
}
