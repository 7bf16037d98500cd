/** Times in images' configurations. */

const GO_ZERO_TIME = Date.parse('0001-01-01T00:00:00Z');

/** Undefined where there is none, and for Go's zero time, which says the same. */
export function parseTime(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const time = new Date(text);
  return Number.isNaN(time.getTime()) || time.getTime() <= GO_ZERO_TIME ? undefined : time;
}
