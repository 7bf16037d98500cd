/** The storage drivers there are. A new one is a row here. */
import type { DriverDefinition } from '../driver.js';
import { aufs } from './aufs.js';
import { fuseOverlayfs } from './fuse-overlayfs.js';
import { overlay2 } from './overlay2.js';
import { vfs } from './vfs.js';

/** In the order in which Docker prefers them (moby, daemon/graphdriver/driver_linux.go). */
export const drivers: readonly DriverDefinition[] = [overlay2, fuseOverlayfs, aufs, vfs];
