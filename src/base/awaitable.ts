/**
 * Values that are usually there at once.
 *
 * Almost every file-system operation finishes without waiting, and a promise for each would cost
 * more than the operation; the few that wait return one. `after` continues either kind.
 */
export type Awaitable<T> = T | Promise<T>;

export function after<T, U>(value: Awaitable<T>, next: (value: T) => Awaitable<U>): Awaitable<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}
