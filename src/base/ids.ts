/** Random names of things on disk (moby, pkg/stringid). */
import { randomBytes } from 'node:crypto';

declare const kind: unique symbol;

/**
 * The name of a layer's directory under a graph driver's home: 64 hexadecimal digits, or what the
 * root was written with.
 */
export type CacheId = string & { readonly [kind]: 'cache' };
/**
 * The same of a read-write layer: 64 hexadecimal digits, followed by `-init` for its init layer.
 */
export type MountId = string & { readonly [kind]: 'mount' };

/** 64 hexadecimal digits: 256 random bits. */
export function randomId(): string {
  return randomBytes(32).toString('hex');
}

export function newCacheId(): CacheId {
  return randomId() as CacheId;
}

/**
 * What a directory under a driver's home may be called: one component, and none that means another
 * directory.
 */
const cacheIdPattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/;
const mountIdPattern = /^[a-f0-9]{64}(-init)?$/;

export function parseCacheId(text: string): CacheId | undefined {
  return cacheIdPattern.test(text) ? (text as CacheId) : undefined;
}

export function parseMountId(text: string): MountId | undefined {
  return mountIdPattern.test(text) ? (text as MountId) : undefined;
}
