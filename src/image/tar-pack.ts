/**
 * A tar made of members one after the other, the same bytes for the same members: no times, no
 * owners.
 */
import { once } from 'node:events';
import { pack, type Pack } from 'tar-stream';
import type { ByteSource } from '../base/byte-source.js';

export type TarMember =
  | { readonly name: string; readonly kind: 'directory' }
  /** `body` must have `size` bytes. */
  | {
      readonly name: string;
      readonly kind: 'file';
      readonly size: number;
      readonly body: ByteSource;
    };

export async function* packTar(members: Iterable<TarMember>): ByteSource {
  const tar = pack();
  const gone = new AbortController();
  tar.once('close', () => gone.abort());
  const written = write(tar, members, gone.signal).catch((error: unknown) => {
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  try {
    yield* tar as AsyncIterable<Buffer>;
  } finally {
    tar.destroy();
    await written;
  }
}

async function write(tar: Pack, members: Iterable<TarMember>, gone: AbortSignal): Promise<void> {
  const common = { mtime: new Date(0), uid: 0, gid: 0 };
  for (const member of members) {
    if (gone.aborted) return;
    if (member.kind === 'directory') {
      tar.entry({ ...common, name: `${member.name}/`, type: 'directory', mode: 0o755 });
      continue;
    }
    const entry = tar.entry({
      ...common,
      name: member.name,
      type: 'file',
      mode: 0o644,
      size: member.size,
    });
    const finished = once(entry, 'finish', { signal: gone });
    finished.catch(() => undefined);
    for await (const piece of member.body) {
      // The tar keeps a piece until it is read, longer than it is this function's.
      if (!entry.write(Buffer.from(piece))) await once(entry, 'drain', { signal: gone });
    }
    entry.end(undefined);
    await finished;
  }
  tar.finalize();
}
