/**
 * umount(8) returns before the process that served the mount has let go of the workdir: whatever
 * uses the layer then waits for it, and nothing refuses.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import type { LayerStore } from '../../src/layer/layer-store.js';
import { says } from '../support/command.js';
import { contentOf, isRoot, newStore, sourceOf, tarOf } from './fixture.js';

t.setTimeout(120_000);

/** Holds the workdir as a server does whose mount is gone; returns what ends it. */
async function holding(t: Test, work: string): Promise<() => Promise<void>> {
  const server = spawn('flock', [work, 'sh', '-c', 'echo held; read -r word'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(server, 'close');
  t.teardown(() => server.kill('SIGKILL'));
  await says(server, server.stdout, 'held');
  return async () => {
    server.stdin.end();
    await ended;
  };
}

const uses: Readonly<Record<string, (store: LayerStore, name: string) => Promise<unknown>>> = {
  changes: (store, name) => store.changes(name),
  'written size': (store, name) => store.writtenSize(name),
  tree: (store, name) => contentOf(store.tree(name)),
  commit: (store, name) => store.commitMounted(name),
  'copying from it': (store, name) =>
    store.whileShown(name, { write: false }, () => Promise.resolve()),
  'copying into it': (store, name) =>
    store.whileShown(name, { write: true }, () => Promise.resolve()),
  recipe: (store, name) => store.recipe(name, { readOnly: false, ids: 'host' }),
  mount: async (store, name) => {
    await store.mount(name);
    await store.unmount(name);
  },
  reset: (store, name) => store.resetMounted(name),
  removal: (store, name) => store.releaseMounted(name),
};

if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else
  for (const [what, use] of Object.entries(uses)) {
    await t.test(`${what} waits for a server that is just ending`, async (t) => {
      const { store, driver } = await newStore(t);
      const base = await store.register(sourceOf(await tarOf({ file: 'base\n' })), undefined);
      const { mountId } = await store.createMounted('one', base.chainId);
      await store.createMounted('other', base.chainId);
      const release = await holding(t, driver.directories(mountId).work!);
      t.equal(store.isWrittenTo('one'), false, 'nobody writes to it any more');

      let over = false;
      const used = use(store, 'one').finally(() => (over = true));
      // The same of a layer that nobody has is over meanwhile.
      await use(store, 'other');
      t.equal(over, false, 'it waits');
      await release();
      await t.resolves(used);
    });
  }
