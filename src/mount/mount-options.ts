/**
 * The words after `-o`, in the vocabulary of fuse-overlayfs, mount(8) and the kernel's overlayfs.
 *
 * Everything is bytes. A backslash takes the next byte literally: `\,` does not separate options,
 * `\:` does not separate layers, `\\` is a backslash (Documentation/filesystems/overlayfs.rst). A
 * value that starts with `"` goes to the next `"`, commas included: so mount(8) and podman write
 * SELinux contexts. Paths are kept as given; resolving them is the caller's business. Of an option
 * given twice the last one holds.
 *
 * `ParsedUnion` is structurally what src/union needs; it is spelled out here because the two never
 * import each other.
 */
import type { ByteString } from '../base/bytes.js';
import { textOf } from '../base/bytes.js';
import { UsageError } from '../base/error.js';
import type { MountOptions } from '../fuse/mount.js';

export interface ParsedLayer {
  readonly path: ByteString;
  readonly form?: 'overlay' | 'aufs';
}

export interface ParsedIdRange {
  readonly onDisk: number;
  readonly shown: number;
  readonly length: number;
}

export interface ParsedOwnership {
  readonly uidMapping: readonly ParsedIdRange[];
  readonly gidMapping: readonly ParsedIdRange[];
  readonly squashToUid?: number;
  readonly squashToGid?: number;
  readonly xattrPermissions: 0 | 1 | 2;
  readonly emulated?: boolean;
}

export interface ParsedUnion {
  /** Topmost first, at least one. */
  readonly lowers: readonly ParsedLayer[];
  readonly upper?: {
    readonly path: ByteString;
    readonly work: ByteString;
    readonly form?: 'overlay' | 'aufs';
  };
  readonly userXattr?: boolean;
  readonly overrideStat?: boolean;
  readonly redirectDir: boolean;
  readonly index: boolean;
  readonly ownership: ParsedOwnership;
  readonly acl: boolean;
  readonly xattrs: boolean;
  readonly fsync: boolean;
  readonly volatile: boolean;
  readonly staticNlink: boolean;
  readonly xino: 'off' | 'auto' | 'on';
}

export interface ParsedOptions {
  readonly union: ParsedUnion;
  readonly mount: MountOptions;
  readonly transport: 'native' | 'fuse-native';
  readonly writeback: boolean;
  readonly passthrough: boolean;
  readonly debug: boolean;
  /** A line for each event of the union, in a file, or `-` for stdout. */
  readonly tracing?: { readonly to: ByteString; readonly form: 'plain' | 'json' };
  /** How long the kernel may believe names and attributes: seconds, or Infinity. */
  readonly timeout: number;
  /** Sentences about options that have no effect, to be said once. */
  readonly ignored: readonly string[];
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface Draft {
  lowers: ByteString[];
  upper?: ByteString;
  work?: ByteString;
  form?: 'overlay' | 'aufs';
  upperForm?: 'overlay' | 'aufs';
  squashToRoot: boolean;
  readonly union: Mutable<Omit<ParsedUnion, 'lowers' | 'upper' | 'ownership'>>;
  readonly ownership: Mutable<ParsedOwnership>;
  readonly mount: Mutable<MountOptions>;
  transport: 'native' | 'fuse-native';
  writeback: boolean;
  passthrough: boolean;
  debug: boolean;
  trace?: ByteString;
  traceFormat: 'plain' | 'json';
  timeout: number;
  readonly ignored: string[];
}

const BACKSLASH = '\\';

/** Splits where `separator` stands unescaped and unquoted; the pieces keep their escapes. */
function split(text: string, separator: string, quotes: boolean): string[] {
  const pieces: string[] = [];
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at];
    if (byte === BACKSLASH) at++;
    else if (quotes && byte === '"' && text[at - 1] === '=') {
      const end = text.indexOf('"', at + 1);
      if (end > 0) at = end;
    } else if (byte === separator) {
      pieces.push(text.slice(start, at));
      start = at + 1;
    }
  }
  pieces.push(text.slice(start));
  return pieces;
}

function unescape(text: string): ByteString {
  return text.replace(/\\([^])/g, '$1') as ByteString;
}

function shown(text: string): string {
  return textOf(text as ByteString);
}

function wrong(option: string, value: string, expected: string): UsageError {
  return new UsageError(`option ${shown(option)}: expected ${expected}, but got '${shown(value)}'`);
}

const MAX_ID = 0xffff_fffe;

function integer(option: string, value: string, max: number, expected: string): number {
  const number = /^\d{1,10}$/.test(value) ? Number(value) : Infinity;
  if (number > max) throw wrong(option, value, expected);
  return number;
}

function ranges(option: string, value: string): ParsedIdRange[] {
  const expected = 'ONDISK:SHOWN:LENGTH triples of ids, joined by colons';
  // containers/storage writes a colon before the first, too (drivers/overlay/overlay.go,
  // optsAppendMappings).
  const parts = (value.startsWith(':') ? value.slice(1) : value).split(':');
  const numbers = parts.map((part) => integer(option, part, MAX_ID, expected));
  if (numbers.length % 3 !== 0) throw wrong(option, value, expected);
  const found: ParsedIdRange[] = [];
  for (let i = 0; i < numbers.length; i += 3) {
    const [onDisk = 0, to = 0, length = 0] = numbers.slice(i, i + 3);
    if (length === 0 || onDisk + length - 1 > MAX_ID || to + length - 1 > MAX_ID)
      throw wrong(option, value, `${expected}, each within 0 to ${MAX_ID}`);
    found.push({ onDisk, shown: to, length });
  }
  return found;
}

function path(option: string, value: string): ByteString {
  if (value === '') throw wrong(option, value, 'a directory');
  if (value.includes('\0')) throw wrong(option, value, 'a directory without NUL bytes');
  return unescape(value);
}

function lowerdirs(option: string, value: string): ByteString[] {
  const pieces = split(value, ':', false);
  return pieces.map((piece, i) => {
    if (piece === '' && i > 0 && i < pieces.length - 1) {
      throw new UsageError(
        `option ${option}: data-only layers ('::') are not supported; name directories joined by single colons`,
      );
    }
    if (piece === '') throw wrong(option, value, 'directories joined by colons, topmost first');
    return path(option, piece);
  });
}

/** `option`, `option=1` and `option=0`. */
function flag(option: string, value: string | null): boolean {
  if (value === null) return true;
  if (value === '0' || value === '1') return value === '1';
  throw wrong(option, value, '0 or 1');
}

function oneOf<const T extends string>(option: string, value: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) throw wrong(option, value, `one of ${choices.join(', ')}`);
  return found;
}

function seconds(option: string, value: string): number {
  if (!/^\d+(\.\d*)?([eE]\+?\d{1,2})?$|^\.\d+$/.test(value))
    throw wrong(option, value, 'a number of seconds');
  return Number(value);
}

type WithValue = (draft: Draft, value: string, option: string) => void;
type Bare = (draft: Draft) => void;

/** Options that need a value. */
const withValue: Readonly<Record<string, WithValue>> = {
  lowerdir: (d, v, o) => {
    d.lowers = lowerdirs(o, v);
  },
  'lowerdir+': (d, v, o) => {
    d.lowers.push(path(o, v));
  },
  upperdir: (d, v, o) => {
    d.upper = path(o, v);
  },
  workdir: (d, v, o) => {
    d.work = path(o, v);
  },
  uidmapping: (d, v, o) => {
    d.ownership.uidMapping = ranges(o, v);
  },
  gidmapping: (d, v, o) => {
    d.ownership.gidMapping = ranges(o, v);
  },
  squash_to_uid: (d, v, o) => {
    d.ownership.squashToUid = integer(o, v, MAX_ID, 'a user id');
  },
  squash_to_gid: (d, v, o) => {
    d.ownership.squashToGid = integer(o, v, MAX_ID, 'a group id');
  },
  xattr_permissions: (d, v, o) => {
    d.ownership.xattrPermissions = Number(oneOf(o, v, ['0', '1', '2'])) as 0 | 1 | 2;
  },
  timeout: (d, v, o) => {
    d.timeout = seconds(o, v);
  },
  xino: (d, v, o) => {
    d.union.xino = oneOf(o, v, ['off', 'auto', 'on']);
  },
  redirect_dir: (d, v, o) => {
    d.union.redirectDir = oneOf(o, v, ['on', 'off', 'follow', 'nofollow']) === 'on';
  },
  index: (d, v, o) => {
    d.union.index = oneOf(o, v, ['on', 'off']) === 'on';
  },
  whiteout: (d, v, o) => {
    d.form = oneOf(o, v, ['overlay', 'aufs']);
  },
  upper_whiteout: (d, v, o) => {
    d.upperForm = oneOf(o, v, ['overlay', 'aufs']);
  },
  permissions: (d, v, o) => {
    d.mount.permissions = oneOf(o, v, ['on', 'off']) === 'on';
  },
  transport: (d, v, o) => {
    d.transport = oneOf(o, v, ['native', 'fuse-native']);
  },
  trace: (d, v, o) => {
    if (v === '' || v.includes('\0')) throw wrong(o, v, 'a file, or - for stdout');
    d.trace = unescape(v);
  },
  trace_format: (d, v, o) => {
    d.traceFormat = oneOf(o, v, ['plain', 'json']);
  },
  fsname: (d, v, o) => {
    if (v === '') throw wrong(o, v, 'a name');
    d.mount.fsname = unescape(v);
  },
  subtype: (d, v, o) => {
    if (!/^[\w.+-]+$/.test(v)) throw wrong(o, v, 'a word of letters, digits, dots and dashes');
    d.mount.subtype = v as ByteString;
  },
};

/** Options that may have `=0` or `=1`. */
const switches: Readonly<Record<string, (draft: Draft, on: boolean) => void>> = {
  fsync: (d, on) => {
    d.union.fsync = on;
  },
  volatile: (d, on) => {
    d.union.volatile = on;
  },
  writeback: (d, on) => {
    d.writeback = on;
  },
  passthrough: (d, on) => {
    d.passthrough = on;
  },
  noxattrs: (d, on) => {
    d.union.xattrs = !on;
  },
  noacl: (d, on) => {
    d.union.acl = !on;
  },
  static_nlink: (d, on) => {
    d.union.staticNlink = on;
  },
  squash_to_root: (d, on) => {
    d.squashToRoot = on;
  },
};

/**
 * The words of mount(8) that the kernel keeps with a mount, and that a running one can be given
 * anew.
 */
const ofEveryMount: Readonly<Record<string, Bare>> = {
  ro: (d) => {
    d.mount.readOnly = true;
  },
  rw: (d) => {
    d.mount.readOnly = false;
  },
  suid: (d) => {
    d.mount.suid = true;
  },
  nosuid: (d) => {
    d.mount.suid = false;
  },
  dev: (d) => {
    d.mount.dev = true;
  },
  nodev: (d) => {
    d.mount.dev = false;
  },
  exec: (d) => {
    d.mount.exec = true;
  },
  noexec: (d) => {
    d.mount.exec = false;
  },
  sync: (d) => {
    d.mount.sync = true;
  },
  async: (d) => {
    d.mount.sync = false;
  },
  dirsync: (d) => {
    d.mount.dirsync = true;
  },
  atime: (d) => {
    d.mount.atime = 'relatime';
  },
  noatime: (d) => {
    d.mount.atime = 'noatime';
  },
  relatime: (d) => {
    d.mount.atime = 'relatime';
  },
  norelatime: (d) => {
    delete d.mount.atime;
  },
  strictatime: (d) => {
    d.mount.atime = 'strictatime';
  },
  nostrictatime: (d) => {
    delete d.mount.atime;
  },
  diratime: (d) => {
    d.mount.nodiratime = false;
  },
  nodiratime: (d) => {
    d.mount.nodiratime = true;
  },
  lazytime: (d) => {
    d.mount.lazytime = true;
  },
  nolazytime: (d) => {
    d.mount.lazytime = false;
  },
};

/** Options that are words. */
const bare: Readonly<Record<string, Bare>> = {
  ...ofEveryMount,
  emulate_owners: (d) => {
    d.ownership.emulated = true;
    d.squashToRoot = true;
  },
  acl: (d) => {
    d.union.acl = true;
  },
  userxattr: (d) => {
    d.union.userXattr = true;
  },
  override_stat: (d) => {
    d.union.overrideStat = true;
  },
  debug: (d) => {
    d.debug = true;
  },
  allow_other: (d) => {
    d.mount.allowOther = true;
  },
};

/**
 * mount(8)'s and fstab(5)'s bookkeeping, and what is so in every mount here: accepted without a
 * word.
 */
const accepted = new Set(
  'defaults auto noauto user nouser users owner group _netdev nofail silent loud default_permissions comment big_writes auto_cache kernel_cache'.split(
    ' ',
  ),
);

/** Known elsewhere, without effect here, with the reason. */
const withoutEffect: Readonly<Record<string, string>> = {
  context: 'security labels are those of the layers',
  fscontext: 'security labels are those of the layers',
  defcontext: 'security labels are those of the layers',
  rootcontext: 'security labels are those of the layers',
  metacopy: 'a copy-up always copies data',
  nfs_export: 'the mount cannot be exported',
  uuid: 'the mount has no UUID',
  verity: 'fs-verity digests are not checked',
  threaded: 'the native data path has its own threads',
  fast_ino: 'inode numbers are always kept',
  plugins: 'there are no plugins',
  allow_root: 'use allow_other to let other users in',
  max_read: 'sizes of requests are negotiated with the kernel',
  max_write: 'sizes of requests are negotiated with the kernel',
  max_readahead: 'sizes of requests are negotiated with the kernel',
  splice_read: 'decided by the native data path',
  splice_write: 'decided by the native data path',
  splice_move: 'decided by the native data path',
  clone_fd: 'decided by the native data path',
  auto_unmount: 'the mount ends with its process',
};

function apply(draft: Draft, option: string): void {
  const equals = option.indexOf('=');
  const name = equals < 0 ? option : option.slice(0, equals);
  const value = equals < 0 ? null : option.slice(equals + 1);
  const own = <T>(table: Readonly<Record<string, T>>): T | undefined =>
    Object.hasOwn(table, name) ? table[name] : undefined;

  const valued = own(withValue);
  if (valued !== undefined) {
    if (value === null)
      throw new UsageError(`option ${name}: a value is missing; write ${name}=VALUE`);
    valued(draft, value, name);
    return;
  }
  const switched = own(switches);
  if (switched !== undefined) {
    switched(draft, flag(name, value));
    return;
  }
  const word = own(bare);
  if (word !== undefined) {
    if (value !== null)
      throw new UsageError(`option ${name}: takes no value, but got '${shown(value)}'`);
    word(draft);
    return;
  }
  if (accepted.has(name) || name.startsWith('x-') || name.startsWith('X-')) return;
  const reason = own(withoutEffect);
  draft.ignored.push(
    reason === undefined
      ? `unknown argument ignored: ${shown(option)}`
      : `option ignored: ${shown(option)}: ${reason}`,
  );
}

function finish(draft: Draft): ParsedOptions {
  const { union, ownership, mount, form, upperForm, ignored } = draft;
  if (draft.lowers.length === 0)
    throw new UsageError('option lowerdir is missing: write -o lowerdir=TOP:…:BOTTOM');
  if (draft.upper !== undefined && draft.work === undefined) {
    throw new UsageError(
      'option workdir is missing: an upperdir needs an empty directory of the same file system as its workdir',
    );
  }
  if (draft.upper === undefined) {
    mount.readOnly = true;
    if (draft.work !== undefined) ignored.push('option ignored: workdir: there is no upperdir');
  }
  if (mount.permissions === false) {
    if (mount.allowOther === true)
      throw new UsageError(
        'option permissions=off: it is for whoever mounts only; leave out allow_other',
      );
    mount.allowOther = false;
    // The kernel checks permissions wherever there are ACLs.
    union.acl = false;
  }
  if (draft.passthrough && draft.writeback) {
    throw new UsageError(
      'options passthrough and writeback: the kernel collects no writes that it passes through; leave out one of them',
    );
  }
  if (draft.passthrough && draft.transport !== 'native') {
    throw new UsageError(
      'option passthrough: only the native transport can do this; leave out transport',
    );
  }
  if (draft.squashToRoot) {
    ownership.squashToUid ??= 0;
    ownership.squashToGid ??= 0;
  }
  if (union.volatile) union.fsync = false;
  return {
    union: {
      ...union,
      lowers: draft.lowers.map((layer) =>
        form === undefined ? { path: layer } : { path: layer, form },
      ),
      ...(draft.upper === undefined || draft.work === undefined
        ? {}
        : {
            upper: {
              path: draft.upper,
              work: draft.work,
              ...(upperForm === undefined ? {} : { form: upperForm }),
            },
          }),
      ownership,
    },
    mount,
    transport: draft.transport,
    writeback: draft.writeback,
    passthrough: draft.passthrough,
    debug: draft.debug,
    ...(draft.trace === undefined ? {} : { tracing: { to: draft.trace, form: draft.traceFormat } }),
    timeout: draft.timeout,
    ignored,
  };
}

function newDraft(): Draft {
  return {
    lowers: [],
    squashToRoot: false,
    union: {
      redirectDir: false,
      index: false,
      acl: true,
      xattrs: true,
      fsync: true,
      volatile: false,
      staticNlink: false,
      xino: 'auto',
    },
    ownership: { uidMapping: [], gidMapping: [], xattrPermissions: 0 },
    mount: { readOnly: false },
    transport: 'native',
    writeback: false,
    passthrough: false,
    debug: false,
    traceFormat: 'plain',
    timeout: Infinity,
    ignored: [],
  };
}

function optionsIn(lists: readonly ByteString[]): string[] {
  return lists.flatMap((list) => split(list, ',', true)).filter((option) => option !== '');
}

/** `lists`: the values of all `-o`, in their order. Throws UsageError. */
export function parseMountOptions(lists: readonly ByteString[]): ParsedOptions {
  const draft = newDraft();
  for (const option of optionsIn(lists)) apply(draft, option);
  return finish(draft);
}

const REMOUNT = 'remount';

/** Whether they are for a mount that is there already, not for a new one. */
export function isRemount(lists: readonly ByteString[]): boolean {
  return optionsIn(lists).includes(REMOUNT);
}

export interface ParsedRemount {
  readonly mount: MountOptions;
  /** Sentences about options that a running mount cannot be given. */
  readonly ignored: readonly string[];
}

/**
 * What a running mount is to be like: as `current`, the options that the mount table has of it, but
 * for what `lists` say. mount(8) repeats all of `current` in front of its user's words.
 */
export function parseRemountOptions(
  lists: readonly ByteString[],
  current: readonly string[],
): ParsedRemount {
  const draft = newDraft();
  const ignored: string[] = [];
  // The table names what is not so; access times are kept at each reading unless it says something
  // else.
  for (const option of ['rw', 'suid', 'dev', 'exec', 'strictatime', ...current])
    applyToMount(draft, option);
  for (const option of optionsIn(lists)) {
    const name = option.replace(/=.*/s, '');
    if (
      applyToMount(draft, option) ||
      !(Object.hasOwn(withValue, name) || Object.hasOwn(switches, name))
    )
      continue;
    ignored.push(
      `option ignored: ${shown(option)}: a mount keeps its layers, and how they are served, as long as it lasts`,
    );
  }
  return { mount: draft.mount, ignored };
}

/** Whether it is a word of mount(8) for every mount. */
function applyToMount(draft: Draft, option: string): boolean {
  if (!Object.hasOwn(ofEveryMount, option)) return false;
  ofEveryMount[option]?.(draft);
  return true;
}
