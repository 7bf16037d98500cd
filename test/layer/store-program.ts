/**
 * Another process at work on a root: `node store-program.js ROOT '{"action":…}'`. Prints what came
 * of it as JSON.
 *
 * With `killAt`, the process kills itself when the store has done that many of its steps
 * (src/layer/trace.ts).
 */
import { subscribe } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { ChainId } from '../../src/base/digest.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { openDriver, sourceOf } from './fixture.js';

export type Action = { readonly killAt?: number } & (
  | {
      readonly action: 'register';
      readonly tars: readonly string[];
      readonly parent?: ChainId;
      readonly release?: boolean;
    }
  | { readonly action: 'release'; readonly chainId: ChainId }
  | {
      readonly action: 'create';
      readonly name: string;
      readonly parent: ChainId;
      readonly record?: string;
    }
  | { readonly action: 'reset' | 'commit'; readonly name: string }
  | { readonly action: 'rename'; readonly name: string; readonly newName: string }
  | { readonly action: 'remove'; readonly name: string }
  | { readonly action: 'mount'; readonly name: string; readonly target: string }
  | { readonly action: 'unmount'; readonly name: string }
  | { readonly action: 'mount-read-only'; readonly chainId: ChainId; readonly target: string }
  | { readonly action: 'collect' }
);

async function perform(store: LayerStore, action: Action): Promise<unknown> {
  switch (action.action) {
    case 'register': {
      let parent = action.parent;
      const registered: ChainId[] = [];
      for (const tar of action.tars) {
        parent = (await store.register(sourceOf(readFileSync(tar)), parent)).chainId;
        registered.push(parent);
      }
      if (action.release === true)
        for (const chainId of [...registered].reverse()) await store.release(chainId);
      return registered;
    }
    case 'release':
      store.acquire(action.chainId);
      return (await store.release(action.chainId)).map(({ chainId }) => chainId);
    case 'create':
      return (
        await store.createMounted(
          action.name,
          action.parent,
          action.record === undefined ? {} : { record: action.record },
        )
      ).mountId;
    case 'reset':
      return store.resetMounted(action.name);
    case 'commit':
      return (await store.commitMounted(action.name))?.chainId;
    case 'rename':
      return store.renameMounted(action.name, action.newName).mountId;
    case 'remove':
      return (await store.releaseMounted(action.name)).map(({ chainId }) => chainId);
    case 'mount':
      return store.mount(action.name, { target: action.target });
    case 'unmount':
      return store.unmount(action.name);
    case 'mount-read-only':
      return store.mountReadOnly(action.chainId, { target: action.target });
    case 'collect':
      store.addHolder(() => []);
      return store.collectGarbage();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const root = process.argv[2]!;
  const action = JSON.parse(process.argv[3]!) as Action;
  let steps = 0;
  subscribe('plyfs:layer-store', () => {
    if (++steps === action.killAt) process.kill(process.pid, 'SIGKILL');
  });
  const store = await LayerStore.open({ root, driver: await openDriver(root), readOnly: false });
  const result = await perform(store, action);
  store.close();
  process.stdout.write(JSON.stringify({ result, steps }));
}
