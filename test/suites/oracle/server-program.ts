/** The process of server.ts. */
import { messageOf } from '../../../src/base/error.js';
import { mountUnion } from '../../../src/index.js';
import type { Answer, Request } from './server.js';

const mounts = new Set<Promise<unknown>>();

async function serve(request: Request): Promise<void> {
  if (request.op === 'ended') {
    await Promise.all(mounts);
    return;
  }
  const { lowers, upper, work, options = [] } = request.spec;
  const { closed } = await mountUnion({
    lowers,
    ...(upper === undefined || work === undefined ? {} : { upper, work }),
    mountpoint: request.dir,
    options: options.join(','),
  });
  const ended: Promise<unknown> = closed.finally(() => mounts.delete(ended));
  mounts.add(ended);
}

process.on('message', (request: Request) => {
  serve(request).then(
    () => process.send?.({ id: request.id } satisfies Answer),
    (error: unknown) =>
      process.send?.({ id: request.id, error: messageOf(error) } satisfies Answer),
  );
});
process.on('disconnect', () => process.exit(0));
