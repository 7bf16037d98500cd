/**
 * What layers say in extended attributes, as any bytes: each parser understands it or leaves it,
 * and what it prints it understands.
 */
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import type { Test } from 'tap';
import { bytesOf, type ByteString } from '../../src/base/bytes.js';
import { sys } from '../../src/sys/index.js';
import { Devices } from '../../src/overlay/devices.js';
import { Origins } from '../../src/union/origin.js';
import { formatOverrideStat, parseOverrideStat } from '../../src/overlay/override-stat.js';
import { inheritAcl } from '../../src/union/posix-acl.js';
import { parseRedirect, redirected } from '../../src/union/redirect.js';
import { workspace } from '../suites/workspace.js';
import { campaign, type FuzzSettings } from './campaign.js';
import { originLike, overrideLike, redirectLike } from './hostile-values.js';

const bytes = fc.uint8Array({ maxLength: 300 }).map((data) => Buffer.from(data));
const S_IFREG = 0o100000;
const types = [0o040000, S_IFREG, 0o120000, 0o010000, 0o140000, 0o060000, 0o020000];

export async function fuzzLayerValues(t: Test, settings: FuzzSettings): Promise<void> {
  const share = { ...settings, seconds: settings.seconds / 5 };

  await campaign(t, 'override_stat', fc.oneof(bytes, overrideLike), share, (value) => {
    const before = Buffer.from(value);
    const parsed = parseOverrideStat(value);
    if (!before.equals(value)) throw new Error('the value was changed');
    if (parsed === undefined) return;
    const { uid, gid, mode, type, major, minor } = parsed;
    const sound =
      [uid, gid].every((id) => Number.isInteger(id) && id >= 0 && id < 0xffff_ffff) &&
      mode >= 0 &&
      mode <= 0o7777;
    if (!sound || (type & ~0o170000) !== 0 || major >= 4096 || minor >= 2 ** 20)
      throw new Error(JSON.stringify(parsed));
  });

  const override = fc
    .record({
      uid: fc.nat(0xffff_fffe),
      gid: fc.nat(0xffff_fffe),
      mode: fc.nat(0o7777),
      type: fc.constantFrom(...types),
      major: fc.nat(4095),
      minor: fc.nat(2 ** 20 - 1),
    })
    .map((one) =>
      one.type === 0o060000 || one.type === 0o020000 ? one : { ...one, major: 0, minor: 0 },
    );
  await campaign(t, 'override_stat as it is written', override, share, (one) => {
    const again = parseOverrideStat(formatOverrideStat(one));
    if (JSON.stringify(again) !== JSON.stringify(one))
      throw new Error(`${JSON.stringify(one)} became ${JSON.stringify(again)}`);
  });

  await campaign(
    t,
    'redirect',
    fc.tuple(redirectLike, redirectLike, fc.nat(5)),
    share,
    ([first, second, after]) => {
      const trails = [first, second].map((value) =>
        parseRedirect(value.toString('latin1') as ByteString),
      );
      for (const trail of trails) {
        if (trail === undefined) continue;
        const leads =
          trail.path.length > 0 &&
          trail.path.every(
            (name) => name !== '' && name !== '.' && name !== '..' && !name.includes('/'),
          );
        if (!leads || (!trail.absolute && trail.path.length !== 1))
          throw new Error(JSON.stringify(trail));
      }
      const [trail, turn] = trails;
      if (trail === undefined || turn === undefined || after >= trail.path.length) return;
      const turned = redirected(trail, after, turn);
      if (turned.path.length < after + 1 || turned.path.includes('..' as never))
        throw new Error(JSON.stringify(turned));
    },
  );

  const aclLike = fc
    .tuple(
      fc.constantFrom(2, 2, 2, 1, 0),
      fc.array(
        fc.tuple(fc.constantFrom(1, 2, 4, 8, 16, 32, 0, 64), fc.nat(8), fc.nat(0xffff_ffff)),
        { maxLength: 12 },
      ),
      fc.nat(3),
    )
    .map(([version, entries, cut]) => {
      const value = Buffer.alloc(4 + 8 * entries.length);
      value.writeUInt32LE(version, 0);
      for (const [i, [tag, permissions, id]] of entries.entries()) {
        value.writeUInt16LE(tag, 4 + 8 * i);
        value.writeUInt16LE(permissions, 6 + 8 * i);
        value.writeUInt32LE(id, 8 + 8 * i);
      }
      return value.subarray(0, value.length - cut);
    });
  await campaign(
    t,
    'default ACLs',
    fc.tuple(fc.oneof(bytes, aclLike), fc.nat(0o7777)),
    share,
    ([value, mode]) => {
      const before = Buffer.from(value);
      const inherited = inheritAcl(value, mode);
      if (!before.equals(value)) throw new Error('the value was changed');
      // Permissions are taken, never given.
      if (inherited !== undefined && (inherited.mode & ~mode) !== 0)
        throw new Error(`${mode.toString(8)} became ${inherited.mode.toString(8)}`);
    },
  );

  const base = await workspace(t, 'lower');
  writeFileSync(`${base}/lower/file`, 'x');
  mkdirSync(`${base}/lower/dir`);
  const fd = openSync(`${base}/lower`, 'r');
  t.teardown(() => {
    closeSync(fd);
  });
  // The real handle of a file there, to be bent.
  const handle = Buffer.alloc(256);
  const size = sys.name_to_handle_at(fd, bytesOf('file'), handle, 0);
  const uuid = Buffer.alloc(16);
  sys.fsuuid(fd, uuid);
  const origins = new Origins([{ fd }], new Devices([fd]));
  const type = fc.constantFrom(...types);
  await campaign(
    t,
    'origin',
    fc.tuple(fc.oneof(bytes, originLike(uuid, handle.subarray(0, Math.max(0, size)))), type),
    share,
    ([value, of]) => {
      const number = origins.resolve(value, of, undefined)?.number;
      if (number !== undefined && !Number.isSafeInteger(number)) throw new Error(String(number));
    },
  );
}
