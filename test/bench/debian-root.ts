/** A Debian root file system, made by mmdebstrap once a run, and packages to install in it. */
import { mkdir } from 'node:fs/promises';
import { hostSources } from '../integration/debian-host.js';
import { missing, succeed } from './program.js';

export interface DebianRoot {
  /** Uncompressed. */
  readonly tar: string;
  /** Holds the packages' files. */
  readonly packages: string;
}

export async function debianUnavailable(): Promise<string | undefined> {
  if (process.getuid?.() !== 0)
    return 'a root file system can be made, and used as a root, by root only';
  return missing('mmdebstrap', 'apt-get');
}

const made = new Map<string, Promise<DebianRoot>>();

/** What lies in `directory`, made by the first that asks. */
export function debianRoot(directory: string, packages: readonly string[]): Promise<DebianRoot> {
  const known = made.get(directory) ?? make(directory, packages);
  made.set(directory, known);
  return known;
}

async function make(directory: string, packages: readonly string[]): Promise<DebianRoot> {
  const root: DebianRoot = {
    tar: `${directory}/debian-root.tar`,
    packages: `${directory}/debian-packages`,
  };
  await mkdir(root.packages);
  const sources = await hostSources();
  // Fetched with what they need, by the apt of the new root; its cache is emptied at the end.
  const fetch = `APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -y --download-only --no-install-recommends install ${packages.join(' ')}`;
  const argv = [
    ...['mmdebstrap', '--quiet', '--mode=root', '--variant=minbase', '--include=python3-minimal'],
    '--aptopt=Acquire::Languages "none"',
    ...sources.options.map((option) => `--aptopt=${option}`),
    `--customize-hook=${fetch} && cp "$1"/var/cache/apt/archives/*.deb '${root.packages}/'`,
    ...[sources.suite, root.tar, sources.list],
  ];
  // What it mounts below its temporary directory goes with `directory` when it is interrupted.
  await succeed(argv, { env: { TMPDIR: directory } });
  return root;
}
