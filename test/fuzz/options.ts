/**
 * The words of command lines and of `-o`: whatever they are, a sentence for their author or what he
 * meant.
 */
import fc from 'fast-check';
import type { Test } from 'tap';
import type { ByteString } from '../../src/base/bytes.js';
import { UsageError } from '../../src/base/error.js';
import { parsePlyfsArguments } from '../../src/cli/plyfs-arguments.js';
import { parseMountOptions } from '../../src/mount/mount-options.js';
import { campaign, type FuzzSettings } from './campaign.js';

/** One character a byte, as names are on disk and on the command line: no NUL. */
const text = (maxLength: number) =>
  fc
    .array(fc.integer({ min: 1, max: 255 }), { maxLength })
    .map((codes) => String.fromCharCode(...codes) as ByteString);

const known = fc.constantFrom(
  ...'lowerdir lowerdir+ upperdir workdir uidmapping gidmapping squash_to_uid squash_to_root xattr_permissions timeout xino redirect_dir'.split(
    ' ',
  ),
  ...'whiteout transport fsname subtype fsync volatile writeback passthrough noxattrs noacl static_nlink acl ro rw remount suid nodev atime context'.split(
    ' ',
  ),
  ...'metacopy index defaults x-systemd.automount constructor __proto__ toString hasOwnProperty debug userxattr'.split(
    ' ',
  ),
);
const value = fc.oneof(
  fc.constantFrom(
    '',
    '0',
    '1',
    'on',
    'off',
    '/a',
    '/a:/b',
    'a::b',
    ':',
    '\\',
    '\\:',
    '"',
    '"a,b"',
    '0:1:2',
    '4294967295',
    '-1',
    '1e9',
    '1e999',
    'aufs',
  ),
  text(30),
);
const option = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(known, value).map(([name, of]) => `${name}=${of}`) },
  { weight: 2, arbitrary: known },
  { weight: 1, arbitrary: text(20) },
);
const lists = fc.array(
  fc.array(option, { maxLength: 8 }).map((options) => options.join(',') as ByteString),
  { maxLength: 3 },
);

/** What `parse` throws must be for its caller's eyes. */
function orUsage<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof UsageError && error.message !== '' && !error.message.includes('undefined'))
      return undefined;
    throw error;
  }
}

/**
 * As overlayfs and mount(8) want a path in an option, quoted where a path could be taken for
 * something else.
 */
function escaped(path: string): string {
  return path.replace(/[\\,:"]/g, '\\$&');
}

export async function fuzzOptions(t: Test, settings: FuzzSettings): Promise<void> {
  const third = { ...settings, seconds: settings.seconds / 3 };
  await campaign(t, 'mount options', lists, third, (words) => {
    const parsed = orUsage(() => parseMountOptions(words));
    if (parsed === undefined) return;
    const { union, timeout, mount } = parsed;
    if (
      union.lowers.length === 0 ||
      union.lowers.some(({ path }) => path === '' || path.includes('\0'))
    )
      throw new Error('a lower that is none');
    if (union.upper === undefined && !mount.readOnly) throw new Error('writable without an upper');
    if (Number.isNaN(timeout) || timeout < 0) throw new Error(`a timeout of ${timeout}`);
    for (const { onDisk, shown, length } of [
      ...union.ownership.uidMapping,
      ...union.ownership.gidMapping,
    ]) {
      if (length < 1 || onDisk + length > 0xffff_ffff || shown + length > 0xffff_ffff)
        throw new Error('a mapping beyond the ids');
    }
  });

  const path = text(60).filter((name) => name !== '');
  const paths = fc.record({
    lowers: fc.array(path, { minLength: 1, maxLength: 5 }),
    upper: path,
    work: path,
    fsname: path,
    plus: fc.boolean(),
  });
  await campaign(
    t,
    'paths in mount options',
    paths,
    third,
    ({ lowers, upper, work, fsname, plus }) => {
      const lowerdir = plus
        ? lowers.map((one) => `lowerdir+=${escaped(one)}`).join(',')
        : `lowerdir=${lowers.map(escaped).join(':')}`;
      const printed =
        `${lowerdir},upperdir=${escaped(upper)},workdir=${escaped(work)},fsname=${escaped(fsname)}` as ByteString;
      const { union, mount } = parseMountOptions([printed]);
      const got = [
        union.lowers.map((layer) => layer.path),
        union.upper?.path,
        union.upper?.work,
        mount.fsname,
      ];
      if (JSON.stringify(got) !== JSON.stringify([lowers, upper, work, fsname]))
        throw new Error(`${JSON.stringify(got)} from ${printed}`);
    },
  );

  const word = fc.oneof(
    fc.constantFrom(
      '-o',
      '-f',
      '-d',
      '-s',
      '-h',
      '-V',
      '--',
      '-',
      '--help',
      '--version',
      '--options',
      '-oro',
      '-fd',
      '-xyz',
      '--no-such',
      '--foreground=1',
      'mnt',
      '',
    ),
    text(15),
    value,
  );
  await campaign(
    t,
    'command lines',
    fc.array(word as fc.Arbitrary<ByteString>, { maxLength: 7 }),
    third,
    (words) => {
      const command = orUsage(() => parsePlyfsArguments(words));
      if (
        command?.kind === 'mount' &&
        (typeof command.mountpoint !== 'string' ||
          command.options.some((one) => typeof one !== 'string'))
      )
        throw new Error('a mount without a mount point');
    },
  );
}
