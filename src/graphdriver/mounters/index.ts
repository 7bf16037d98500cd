import type { Mounter } from '../mounter.js';
import { fuseMounter } from './fuse.js';
import { kernelMounter } from './kernel.js';

export const mounters: Readonly<Record<Mounter['name'], Mounter>> = {
  fuse: fuseMounter,
  kernel: kernelMounter,
};
