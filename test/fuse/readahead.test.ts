import t from 'tap';
import { accessSync, constants, readFileSync } from 'node:fs';
import { mountAt } from '../../src/host/mount-table.js';
import { plyfs, unavailable } from '../suites/mounters.js';
import { UnionScene } from '../suites/union/scene.js';

t.setTimeout(60_000);

function readAheadOf(mountpoint: string): string {
  return `/sys/class/bdi/${mountAt(mountpoint)?.device}/read_ahead_kb`;
}

const skip = await unavailable(t, plyfs);

t.test(
  'a mount reads further ahead than the 128 KiB it begins with',
  { skip: skip ?? false },
  async (t) => {
    const scene = await UnionScene.create(t, plyfs, 1, []);
    try {
      await scene.mount();
      const setting = readAheadOf(scene.union.mnt);
      try {
        accessSync(setting, constants.W_OK);
      } catch {
        t.comment(`not raised here: ${setting} cannot be written`);
        return;
      }
      t.ok(Number(readFileSync(setting, 'utf8')) > 128);
    } finally {
      await scene.end();
    }
  },
);
