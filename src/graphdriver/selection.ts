/**
 * Which storage driver a data root is used with (moby, daemon/graphdriver/driver.go, New; docs:
 * "Select a storage driver").
 *
 * 1. The one that was named: by an option, else by DOCKER_DRIVER.
 * 2. The one that the root has been used with, if it is one: its directory has something in it. It
 *    must work; otherwise the root's images would seem to be gone. vfs does not count, because
 *    other drivers fall back to it.
 * 3. The first that works here.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PlyfsError } from '../base/error.js';
import type { DriverDefinition, DriverOptions } from './driver.js';
import { drivers } from './drivers/index.js';

/**
 * Drivers of Docker's that were removed there or are not here: what to do with a root of theirs.
 */
const others: Readonly<Record<string, string>> = {
  overlay:
    'has been removed from Docker: save its images with the Docker that wrote them, and load them here',
  devicemapper:
    'has been removed from Docker: save its images with the Docker that wrote them, and load them here',
  btrfs: 'is not one of ours: save its images with Docker, and load them here',
  zfs: 'is not one of ours: save its images with Docker, and load them here',
  windowsfilter: 'is for Windows',
  lcow: 'is for Windows',
};

/** The drivers whose directories make a root theirs, as Docker orders them. */
const priors = ['overlay2', 'fuse-overlayfs', 'btrfs', 'zfs', 'aufs', 'overlay', 'devicemapper'];
/** Never taken unless they are named or were used: Docker has them for old roots only. */
const deprecated = ['aufs'];
const DOCUMENTATION = 'https://docs.docker.com/go/storage-driver/';

export interface SelectionOptions extends Omit<DriverOptions, 'home'> {
  /** The name after `--storage-driver`. */
  readonly explicit?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * Throws `driver-unknown`, `driver-removed`, `driver-unsupported`, `several-drivers`, `no-driver`.
 */
export async function selectDriver(
  root: string,
  options: SelectionOptions,
): Promise<DriverDefinition> {
  const { explicit, env, ...driverOptions } = options;
  const named = explicit ?? (env['DOCKER_DRIVER'] === '' ? undefined : env['DOCKER_DRIVER']);
  if (named !== undefined) return supported(definitionOf(named), root, driverOptions);

  const found = priors.filter((name) => isUsed(join(root, name)));
  const [prior] = found;
  if (found.length > 1) {
    throw new PlyfsError(
      'several-drivers',
      `${root} contains several valid graphdrivers: ${[...found].sort().join(', ')}; cleanup or explicitly choose storage driver (-s <DRIVER>)`,
    );
  }
  if (prior !== undefined) return supported(definitionOf(prior), root, driverOptions);

  const reasons: string[] = [];
  for (const definition of drivers) {
    if (deprecated.includes(definition.name)) continue;
    const why = await definition.unsupported({
      ...driverOptions,
      home: join(root, definition.name),
    });
    if (why === undefined) return definition;
    reasons.push(`${definition.name}: ${why}`);
  }
  throw new PlyfsError('no-driver', `no storage driver works at ${root}: ${reasons.join('; ')}`);
}

function definitionOf(name: string): DriverDefinition {
  const definition = drivers.find((one) => one.name === name);
  if (definition !== undefined) return definition;
  const other = Object.hasOwn(others, name) ? others[name] : undefined;
  if (other !== undefined)
    throw new PlyfsError(
      'driver-removed',
      `the storage driver ${name} ${other}; see ${DOCUMENTATION}`,
    );
  throw new PlyfsError(
    'driver-unknown',
    `there is no storage driver ${name}: choose one of ${drivers.map((one) => one.name).join(', ')}.`,
  );
}

async function supported(
  definition: DriverDefinition,
  root: string,
  options: Omit<DriverOptions, 'home'>,
): Promise<DriverDefinition> {
  const why = await definition.unsupported({ ...options, home: join(root, definition.name) });
  if (why === undefined) return definition;
  throw new PlyfsError(
    'driver-unsupported',
    `the storage driver ${definition.name} cannot be used at ${root}: ${why}`,
  );
}

function isUsed(directory: string): boolean {
  try {
    return readdirSync(directory).length > 0;
  } catch {
    return false;
  }
}
