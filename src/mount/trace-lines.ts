/** What a union tells, a line an event: for people, or JSON for programs. */
import { textOf } from '../base/bytes.js';
import type { UnionEvent } from '../union/events.js';
import { layerName } from './layer-name.js';

export type TraceForm = 'plain' | 'json';

/** `time`: milliseconds since the epoch; in JSON only. */
export function traceLine(event: UnionEvent, form: TraceForm, time: number): string {
  const path = textOf(event.path);
  if (form === 'json')
    return `${JSON.stringify({ time: new Date(time).toISOString(), ...event, path })}\n`;
  return `${event.type} ${quoted(path)}${detail(event)}\n`;
}

function detail(event: UnionEvent): string {
  switch (event.type) {
    case 'lookup':
      return `: ${event.layer === null ? 'nothing there' : layerName(event.layer)}`;
    case 'copy-up':
      return `: ${event.bytes} bytes from ${layerName(event.layer)}, ${event.microseconds} µs`;
    case 'exdev':
      return ': rename refused, a lower layer has the directory';
    case 'whiteout':
    case 'opaque':
      return '';
  }
}

/**
 * A name may hold newlines, or what steers a terminal: those that do are shown as JSON shows them.
 */
export function quoted(path: string): string {
  return /[\0-\x1f\x7f-\x9f"]/.test(path) ? JSON.stringify(path) : path;
}
