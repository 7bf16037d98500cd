/**
 * Which images of an archive are loaded: those for the wanted platform, where the archive leaves a
 * choice or the caller has named one. What is passed over is counted, and told afterwards; that
 * nothing was loaded is never success.
 */
import { PlyfsError } from '../base/error.js';
import type { Platform } from './image-config.js';
import { choosePlatform, hostPlatform, platformString } from './platform.js';

export class Selection {
  readonly wanted: Platform;
  /** The caller named the platform. */
  readonly asked: boolean;
  /** Platforms of images that are for others only, once for each image. */
  readonly #foreign: string[][] = [];
  /** What is no image: its type, and how often. */
  readonly #others = new Map<string, number>();

  /**
   * `platform`: what the caller named; this machine's when absent, and then an image that is alone
   * is taken whatever it is for, as docker takes it.
   */
  constructor(platform: Platform | undefined) {
    this.wanted = platform ?? hostPlatform();
    this.asked = platform !== undefined;
  }

  /**
   * Whether an image is loaded that its archive offers without a choice. One that does not say what
   * it is for is.
   */
  takes(platform: Platform): boolean {
    if (!this.asked || platform.architecture === '' || this.suits(platform)) return true;
    this.passOverForeign([platform]);
    return false;
  }

  suits(platform: Platform): boolean {
    return choosePlatform([platform], this.wanted) !== undefined;
  }

  /** An image that is for none but these platforms. */
  passOverForeign(platforms: readonly Platform[]): void {
    this.#foreign.push(platforms.map(platformString));
  }

  /** An entry that is no image. `type`: what its archive calls it. */
  passOver(type: string): void {
    this.#others.set(type, (this.#others.get(type) ?? 0) + 1);
  }

  /** Sentences about what was passed over. */
  sentences(archive: string): string[] {
    const sentences: string[] = [];
    const entries = [...this.#others.values()].reduce((sum, count) => sum + count, 0);
    if (entries > 0)
      sentences.push(
        `Passed over ${entries} ${plural(entries, 'entry', 'entries')} of ${archive}, no ${plural(entries, 'image', 'images')}: ${this.#types()}.`,
      );
    const images = this.#foreign.length;
    if (images > 0)
      sentences.push(
        `Passed over ${images} ${plural(images, 'image', 'images')} of ${archive}, not for ${platformString(this.wanted)}, but for ${this.#platforms()}.`,
      );
    return sentences;
  }

  /** What there is to say when no image is left: `platform-unsupported` or `invalid`. */
  nothingLeft(archive: string, invalid = 'archive-invalid'): PlyfsError {
    if (this.#foreign.length > 0)
      return new PlyfsError(
        'platform-unsupported',
        `${archive} has no image for ${platformString(this.wanted)}, but for ${this.#platforms()}: name another with --platform.`,
      );
    const types = this.#types();
    return new PlyfsError(
      invalid,
      `${archive} holds no image${types === '' ? '' : `, but something else: ${types}`}.`,
    );
  }

  #platforms(): string {
    return [...new Set(this.#foreign.flat())].join(', ');
  }

  #types(): string {
    return [...this.#others]
      .map(([type, count]) => (count === 1 ? type : `${type} (${count})`))
      .join(', ');
  }
}

function plural(count: number, one: string, several: string): string {
  return count === 1 ? one : several;
}
