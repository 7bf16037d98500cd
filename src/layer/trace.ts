/**
 * The steps of whatever changes the store, for those who trace:
 * `diagnostics_channel.subscribe('plyfs:layer-store', …)`.
 *
 * Each is published when it is done, before the next begins; a process that ends there is what the
 * store must survive.
 */
import { channel } from 'node:diagnostics_channel';

export interface LayerStoreStep {
  readonly step: string;
  /** The ChainID, the mount's name or the driver's id that it is about. */
  readonly of?: string;
}

const steps = channel('plyfs:layer-store');

export function trace(step: string, of?: string): void {
  if (steps.hasSubscribers)
    steps.publish({ step, ...(of !== undefined && { of }) } satisfies LayerStoreStep);
}
