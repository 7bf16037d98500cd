/**
 * How far long work is, on stderr: bars where that is a terminal, otherwise a line for each thing
 * begun. stdout is for results.
 */
import type * as cliProgress from 'cli-progress';
import { humanSize, shortId } from './human-format.js';
import { say } from './output.js';
import { inLine } from './terminal-text.js';

export interface ProgressEvent {
  /**
   * `layer`, `layers`, `save`, `compress`, `push`; `spool`: an archive is copied to where it can be
   * read; `exists`, `mounted`: a layer that is there already, or in another repository; of a pull
   * `wait`, `download`, `extract`, `done`.
   */
  readonly kind: string;
  /** A digest or a name. */
  readonly id: string;
  readonly done: number;
  readonly total?: number;
  /** What is counted. Default: bytes. */
  readonly unit?: 'bytes' | 'things';
}

export interface Progress {
  readonly report: (event: ProgressEvent) => void;
  /** Nothing is reported after. The terminal is as it was. */
  readonly end: () => void;
}

export const silent: Progress = { report: () => undefined, end: () => undefined };

/** `doing`: what happens to the things, as `Loading`. */
export async function progressOn(stream: NodeJS.WriteStream, doing: string): Promise<Progress> {
  return stream.isTTY ? bars(stream, doing, await import('cli-progress')) : lines(doing);
}

function bars(
  stream: NodeJS.WriteStream,
  doing: string,
  { MultiBar }: typeof cliProgress,
): Progress {
  const drawn = new Map<string, cliProgress.SingleBar>();
  const begun = new Map<string, { at: number; done: number }>();
  /** Of what comes over the network: since when, not what was there before. */
  const rateOf = ({ id, kind, done }: ProgressEvent): string => {
    if (kind !== 'download') return '';
    const since = begun.get(id);
    if (since === undefined) begun.set(id, { at: Date.now(), done });
    const seconds = since === undefined ? 0 : (Date.now() - since.at) / 1000;
    return seconds < 1 ? '' : ` ${humanSize((done - since!.done) / seconds)}/s`;
  };
  const all = new MultiBar({
    stream,
    format: '{name}: {text} [{bar}] {size}',
    barsize: 40,
    barCompleteChar: '=',
    barIncompleteChar: ' ',
    barGlue: '>',
    hideCursor: true,
    // SIGINT is the program's own affair.
    gracefulExit: false,
  });
  return {
    report: (event) => {
      const { id, done, total } = event;
      const bar = drawn.get(id);
      if (bar === undefined) {
        drawn.set(
          id,
          all.create(total ?? 0, done, {
            name: inLine(nameOf(id)),
            text: textOf(event, doing),
            size: sizeOf(event),
          }),
        );
        return;
      }
      if (total !== undefined) bar.setTotal(total);
      bar.update(done, { text: textOf(event, doing), size: sizeOf(event) + rateOf(event) });
    },
    end: () => all.stop(),
  };
}

/** States of a thing that a log is not told, and those that it is told besides what began. */
const passing = new Set(['wait', 'extract']);
const lasting = new Set(['done']);

function lines(doing: string): Progress {
  const said = new Set<string>();
  return {
    report: (event) => {
      if (passing.has(event.kind)) return;
      const key = lasting.has(event.kind) ? `${event.kind} ${event.id}` : event.id;
      if (said.has(key)) return;
      said.add(key);
      const size = event.total === undefined ? '' : ` ${amount(event.total, event)}`;
      say(`${nameOf(event.id)}: ${textOf(event, doing)}${size}\n`);
    },
    end: () => said.clear(),
  };
}

function nameOf(id: string): string {
  return /^sha256:/.test(id) ? shortId(id) : id;
}

function textOf({ kind }: ProgressEvent, doing: string): string {
  switch (kind) {
    case 'exists':
      return 'Layer already exists';
    case 'copy':
      return `${doing} blob`;
    case 'spool':
      return 'Copying';
    case 'mounted':
      return 'Mounted from another repository';
    case 'compress':
      return 'Compressing layer';
    case 'wait':
      return 'Waiting';
    case 'download':
      return 'Downloading';
    case 'extract':
      return 'Extracting';
    case 'done':
      return 'Pull complete';
    case 'save':
    case 'push':
      return `${doing} layer`;
    default:
      return `${doing} ${kind}`;
  }
}

function sizeOf(event: ProgressEvent): string {
  const done = amount(event.done, event);
  return event.total === undefined ? done : `${done}/${amount(event.total, event)}`;
}

function amount(value: number, { unit }: ProgressEvent): string {
  return unit === 'things' ? String(value) : humanSize(value);
}
