/**
 * What a chroot borrows from this machine to reach its Debian archive: sources, resolver, proxies,
 * certificates.
 */
import { copyFile, readFile, readdir, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { succeed } from '../support/command.js';
import { unmountAll } from '../support/mounts.js';

export interface HostSources {
  readonly suite: string;
  /** One-line sources, as mmdebstrap takes them. */
  readonly list: string;
  /** apt options of fetching (proxies, date checks). */
  readonly options: readonly string[];
}

/** The suite this machine runs, and how its apt gets at the archive. */
export async function hostSources(): Promise<HostSources> {
  const release = await readFile('/etc/os-release', 'utf8');
  const suite = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
  if (suite === undefined)
    throw new Error('/etc/os-release names no VERSION_CODENAME: this test needs a Debian machine');
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  // What apt would fetch, whatever form its sources have: `apt-get indextargets` knows.
  const found = await succeed([
    'apt-get',
    'indextargets',
    '--format',
    '$(REPO_URI) $(RELEASE) $(COMPONENT)',
    'Created-By: Packages',
  ]);
  const wanted = found.split('\n').filter((line) => {
    const [, release, component] = line.split(' ');
    return (
      component === 'main' &&
      (release === suite || release === `${suite}-updates` || release === `${suite}-security`)
    );
  });
  if (wanted.length === 0)
    throw new Error(`apt has no source of ${suite} main: add one to its sources`);
  const options: string[] = [];
  for (const name of await readdir('/etc/apt/apt.conf.d')) {
    const lines = (await readFile(`/etc/apt/apt.conf.d/${name}`, 'utf8')).split('\n');
    options.push(...lines.filter((line) => /^\s*Acquire::[^{]*;\s*$/.test(line)));
  }
  return {
    suite,
    list: [...new Set(wanted)].map((line) => `deb [signed-by=${keyring}] ${line}`).join('\n'),
    options,
  };
}

const certificateVariables = [
  'SSL_CERT_FILE',
  'CURL_CA_BUNDLE',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
];

export interface Lent {
  readonly environment: Readonly<Record<string, string>>;
  /** Unmounts and removes what was lent; the tree is as the chroot left it otherwise. */
  end(): Promise<void>;
}

/**
 * Binds /proc and /dev into `root`, and lends it the resolver and the certificates of this machine.
 */
export async function lendHost(root: string): Promise<Lent> {
  const lent: string[] = [];
  const environment: Record<string, string> = {};
  for (const name of certificateVariables) {
    const value = process.env[name];
    if (value === undefined) continue;
    if (value.startsWith('/')) {
      const inside = `/root/lent-${basename(value)}`;
      await copyFile(value, `${root}${inside}`);
      lent.push(inside);
      environment[name] = inside;
    } else environment[name] = value;
  }
  await rm(`${root}/etc/resolv.conf`, { force: true });
  await copyFile('/etc/resolv.conf', `${root}/etc/resolv.conf`);
  lent.push('/etc/resolv.conf');
  const end = async () => {
    await unmountAll(`${root}/proc`);
    await unmountAll(`${root}/dev`);
    for (const path of lent) await rm(`${root}${path}`, { force: true });
  };
  try {
    await succeed(['mount', '-t', 'proc', 'proc', `${root}/proc`]);
    await succeed(['mount', '--bind', '/dev', `${root}/dev`]);
  } catch (error) {
    await end();
    throw error;
  }
  return { environment, end };
}
