/** What `ply explain` says to people. */
import type { ExplainedLayer, ExplainedPath, FileKind } from '../engine/mounts/explain.js';
import { quoted } from '../mount/trace-lines.js';
import { ellipsis } from './human-format.js';

const CREATED_BY_LENGTH = 60;

/** Paths below `here` are shown relative to it. */
export function explanationText(explained: ExplainedPath, here: string): string {
  const lines: string[] = explained.links.map(
    ({ path, target }) => `${quoted(path)} is a symbolic link to ${quoted(target)}.\n`,
  );
  lines.push(`${quoted(explained.path)}: ${headline(explained)}\n`);
  const speaking = explained.layers.filter(({ state }) => state !== 'absent');
  const width = Math.max(0, ...speaking.map(({ name }) => name.length));
  for (const layer of speaking) {
    lines.push(
      `  ${layer.name.padEnd(width)}  ${answer(layer, explained)}\n`,
      `  ${' '.repeat(width)}    ${origin(layer, here)}\n`,
    );
  }
  lines.push(silent(explained.layers), consequence(explained));
  return lines.join('');
}

function headline({ kind, size, target, endsAt, layers }: ExplainedPath): string {
  if (endsAt !== undefined) {
    const where = quoted(endsAt.path);
    return endsAt.kind === undefined
      ? `not there, because there is no ${where}`
      : `not there, because ${where} is ${named(endsAt.kind)}`;
  }
  if (kind === undefined) {
    if (layers.some(({ state }) => state === 'whiteout')) return 'not there: deleted';
    return layers.some(({ state }) => state === 'hidden')
      ? 'not there, though there is one below'
      : 'not there';
  }
  if (kind === 'symlink') return `a symbolic link to ${quoted(target ?? '')}`;
  const parts = layers.filter(({ state }) => state === 'wins' || state === 'merged').length;
  if (kind === 'directory')
    return parts > 1 ? `a directory, merged from ${parts} layers` : 'a directory';
  return size === undefined ? named(kind) : `${named(kind)} of ${count(size, 'byte')}`;
}

function named(kind: FileKind): string {
  return kind === 'symlink' ? 'a symbolic link' : `a ${kind}`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

function answer(layer: ExplainedLayer, { kind, path }: ExplainedPath): string {
  const { state, size, opaque = false } = layer;
  const elsewhere = layer.path === path ? '' : ` as ${quoted(layer.path)}`;
  const what =
    layer.kind === undefined
      ? ''
      : `${named(layer.kind)}${size === undefined ? '' : ` of ${count(size, 'byte')}`}`;
  const closed = opaque ? '; it is opaque: what lies below it stays hidden' : '';
  switch (state) {
    case 'wins':
      return kind === 'directory'
        ? `has it${elsewhere}: its owner, mode and times are shown${closed}`
        : `has it${elsewhere}: this one is shown`;
    case 'merged':
      return `has it${elsewhere}: merged into it${closed}`;
    case 'hidden':
      return `has ${what}${elsewhere}: ${because(layer, path)}`;
    case 'whiteout':
      return `deletes it: a whiteout${layer.hiddenBy === undefined ? '' : `, without effect: ${because(layer, path)}`}`;
    case 'absent':
      return 'has nothing there';
  }
}

function because({ hiddenBy }: ExplainedLayer, path: string): string {
  if (hiddenBy === undefined) return 'not shown';
  const { reason, name } = hiddenBy;
  const above = hiddenBy.path === path ? '' : ` ${quoted(hiddenBy.path)}`;
  switch (reason) {
    case 'whiteout':
      return `hidden, ${name} deletes${above === '' ? ' it' : above}`;
    case 'opaque':
      return `hidden, the directory${above} in ${name} is opaque`;
    case 'file':
      return above === ''
        ? `hidden by the one in ${name}`
        : `hidden,${above} in ${name} is no directory`;
    case 'directory':
      return `hidden by the directory${above} in ${name}`;
    case 'redirect':
      return `hidden, the directory${above} in ${name} was renamed and goes on under its former name`;
  }
}

function origin({ createdBy, directory, path }: ExplainedLayer, here: string): string {
  if (createdBy !== undefined)
    return ellipsis(createdBy.replace(/[\s\0-\x1f\x7f-\x9f]+/g, ' '), CREATED_BY_LENGTH);
  const full = path === '/' ? directory : `${directory}${path}`;
  return quoted(full.startsWith(`${here}/`) ? full.slice(here.length + 1) : full);
}

function silent(layers: readonly ExplainedLayer[]): string {
  const number = layers.filter(({ state }) => state === 'absent').length;
  if (number === 0) return '';
  return `  ${number === layers.length ? 'No layer has' : number === 1 ? 'One other layer has' : `${number} other layers have`} ${number === layers.length ? 'anything' : 'nothing'} there.\n`;
}

function consequence({ kind, write }: ExplainedPath): string {
  if (kind === undefined) return '';
  if (write === undefined) return '  There is no upper layer: nothing can be changed.\n';
  if (write.inPlace)
    return '  A change is made in the upper layer, where it is: nothing is copied.\n';
  const what =
    kind === 'file'
      ? count(write.bytes, 'byte')
      : kind === 'directory'
        ? 'the directory without what is in it'
        : 'it';
  const { directories } = write;
  const parents =
    directories.length === 0
      ? ''
      : `, and the director${directories.length === 1 ? 'y' : 'ies'} ${directories.map(quoted).join(', ')} above it`;
  return `  The first change copies ${what} to the upper layer${parents}.\n`;
}
