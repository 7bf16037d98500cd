/**
 * JSON from archives and from disk, which may be anything: read with a type for every field, and an
 * error that names the field.
 *
 * `null` and an absent field are the same, as for Go programs, which wrote most of it.
 */
import { ONE_THING, parseJson, type JsonBounds } from '../base/bounded-json.js';
import { messageOf, PlyfsError } from '../base/error.js';

export type JsonObject = Readonly<Record<string, unknown>>;

export class JsonDocument {
  readonly #code: string;
  readonly #what: string;

  /**
   * Errors are `code`, and say that `what` is not what it should be: "the configuration of image
   * …".
   */
  constructor(code: string, what: string) {
    this.#code = code;
    this.#what = what;
  }

  parse(bytes: Uint8Array, bounds: JsonBounds = ONE_THING): unknown {
    try {
      return parseJson(bytes, bounds);
    } catch (error) {
      throw this.error(
        error instanceof RangeError ? `is not believed (${messageOf(error)})` : 'is not JSON',
        error,
      );
    }
  }

  error(problem: string, cause?: unknown): PlyfsError {
    return new PlyfsError(this.#code, `${this.#what} ${problem}.`, { cause });
  }

  #wrong(value: unknown, field: string, wanted: string): PlyfsError {
    const found =
      value === undefined || value === null
        ? 'nothing'
        : Array.isArray(value)
          ? 'an array'
          : `a value of type ${typeof value}`;
    return this.error(`has ${found} where ${wanted} belongs${field === '' ? '' : `: ${field}`}`);
  }

  /** An error about this document with a code of its own. */
  errorOf(code: string, problem: string): PlyfsError {
    return new PlyfsError(code, `${this.#what} ${problem}.`);
  }

  object(value: unknown, field: string): JsonObject {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw this.#wrong(value, field, 'an object');
    return value as JsonObject;
  }
  /**
   * An object whose keys are the names of fields, which Go's encoding/json matches whatever their
   * case: `names` are given as they are spelled here, others are left as they are. One that is
   * there twice in two spellings is refused, for of those programs take different ones.
   */
  struct(value: unknown, field: string, names: readonly string[]): JsonObject {
    const spelled = new Map(names.map((name) => [folded(name), name]));
    const found = new Map<string, unknown>();
    for (const [key, item] of Object.entries(this.object(value, field))) {
      const name = spelled.get(folded(key)) ?? key;
      if (found.has(name))
        throw this.error(
          `has the field ${field === '' ? '' : `${field}.`}${name} twice, in two spellings`,
        );
      found.set(name, item);
    }
    return Object.fromEntries(found);
  }
  optionalStruct(value: unknown, field: string, names: readonly string[]): JsonObject | undefined {
    return value === undefined || value === null ? undefined : this.struct(value, field, names);
  }
  /** Own properties only, so that a key such as `__proto__` is a key. */
  entries<T>(
    value: unknown,
    field: string,
    read: (item: unknown, field: string) => T,
  ): [string, T][] {
    if (value === undefined || value === null) return [];
    return Object.entries(this.object(value, field)).map(([key, item]) => [
      key,
      read(item, `${field}.${key}`),
    ]);
  }
  optionalObject(value: unknown, field: string): JsonObject | undefined {
    return value === undefined || value === null ? undefined : this.object(value, field);
  }
  array<T>(value: unknown, field: string, read: (item: unknown, field: string) => T): T[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) throw this.#wrong(value, field, 'an array');
    return value.map((item, index) => read(item, `${field}[${index}]`));
  }
  string(value: unknown, field: string): string {
    if (typeof value !== 'string') throw this.#wrong(value, field, 'a string');
    return value;
  }
  /** Empty where there is none. */
  text(value: unknown, field: string): string {
    return value === undefined || value === null ? '' : this.string(value, field);
  }
  strings(value: unknown, field: string): string[] {
    return this.array(value, field, (item, at) => this.string(item, at));
  }
  boolean(value: unknown, field: string): boolean {
    if (value === undefined || value === null) return false;
    if (typeof value !== 'boolean') throw this.#wrong(value, field, 'true or false');
    return value;
  }
  /** A size or a count: not negative, exact. */
  count(value: unknown, field: string): number {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
      throw this.#wrong(value, field, 'a number that is not negative');
    return value;
  }
}

/**
 * Equal for names that Go takes for one (strings.EqualFold, of names in ASCII: the long s and the
 * sign for kelvin are letters to it).
 */
function folded(name: string): string {
  return name
    .replace(/\u017f/g, 's')
    .replace(/\u212a/g, 'k')
    .replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
