/**
 * What a stream of requests asks of idle processors (native/awake.h), seen by any program: the
 * latency that the kernel is held to.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { layers, plyfs } from '../support/plyfs.js';
import { isRoot } from '../support/users.js';

const driver = ((): string => {
  try {
    return readFileSync('/sys/devices/system/cpu/cpuidle/current_driver', 'latin1').trim();
  } catch {
    return 'none';
  }
})();
const skip = !isRoot && 'only root may ask for a latency';

/** Microseconds (Documentation/power/pm_qos_interface.rst). */
function latency(device: number): number {
  const value = Buffer.alloc(4);
  readSync(device, value, 0, 4, 0);
  return value.readInt32LE();
}

t.test('processors that the driver halts stay awake while requests stream', { skip }, async (t) => {
  const { options, mountpoint } = await layers(t);
  const mounted = await plyfs('-o', options, mountpoint);
  t.equal(mounted.status, 0, mounted.stderr);
  const device = openSync('/dev/cpu_dma_latency', constants.O_RDWR);
  t.teardown(() => {
    closeSync(device);
  });
  const becomes = async (wanted: (value: number) => boolean): Promise<boolean> => {
    const until = Date.now() + 30_000;
    while (!wanted(latency(device))) {
      if (Date.now() > until) return false;
      await delay(5);
    }
    return true;
  };
  // A request a block, until it is ended.
  const writer = spawn('dd', [
    'if=/dev/zero',
    `of=${mountpoint}/new`,
    'bs=512',
    'count=1M',
    'conv=notrunc',
    'status=none',
  ]);
  t.teardown(() => writer.kill('SIGKILL'));
  if (driver !== 'haltpoll') {
    // Waking is cheap there, and sleep saves power: nothing is asked for.
    const written = (): number =>
      statSync(`${mountpoint}/new`, { throwIfNoEntry: false })?.size ?? 0;
    let held = false;
    while (written() < 4_000_000) held ||= latency(device) === 0;
    t.notOk(held, `idle processors are left alone under the cpuidle driver ${driver}`);
    return;
  }
  t.ok(await becomes((value) => value === 0), 'held while there is work');
  writer.kill('SIGKILL');
  await once(writer, 'close');
  t.ok(await becomes((value) => value > 0), 'given back when it ends');
});
