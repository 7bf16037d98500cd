/** `ply info`: what a data root is and what is in it. */
import { release } from 'node:os';
import type { DataRoot } from './data-root.js';

export interface RootInfo {
  readonly root: string;
  /** Another program made it: it is changed with --writable only. */
  readonly foreign: boolean;
  readonly storageDriver: string;
  /** What the driver found out about its place. */
  readonly driverStatus: readonly (readonly [name: string, value: string])[];
  readonly images: number;
  readonly layers: number;
  readonly mounts: number;
  /** What lies there and cannot be used: a sentence each. */
  readonly skipped: readonly string[];
  readonly kernelVersion: string;
}

export function rootInfo({ root, foreign, driver, images, layers, skipped }: DataRoot): RootInfo {
  return {
    root,
    foreign,
    storageDriver: driver.name,
    driverStatus: driver.status(),
    images: images.list().length,
    layers: layers.layers().length,
    mounts: layers.mountedLayers().length,
    skipped: skipped(),
    kernelVersion: release(),
  };
}
