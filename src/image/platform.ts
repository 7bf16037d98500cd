/**
 * Which of several images of one name is for this machine (containerd, platforms; image-spec
 * image-index.md, "platform").
 */
import type { Platform } from './image-config.js';

/** Go's names, which images use, where they differ from Node's. */
const architectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  ppc64: 'ppc64le',
  mipsel: 'mipsle',
  arm: 'arm',
};

/** linux, and the architecture that this program runs on. */
export function hostPlatform(): Platform {
  const architecture = architectures[process.arch] ?? process.arch;
  return { os: 'linux', architecture, ...(architecture === 'arm' && { variant: 'v7' }) };
}

/** `linux/arm/v7`. */
export function platformString({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant ?? ''].filter((part) => part !== '').join('/');
}

/**
 * `os[/architecture[/variant]]` as people write it; what is left out is that of `hostPlatform`.
 * Undefined when it is none.
 */
export function parsePlatform(text: string): Platform | undefined {
  const [first = '', second, variant, ...more] = text.split('/');
  if (more.length > 0 || !/^[a-z0-9_.]+(?:\/[a-z0-9_.]+)*$/.test(text)) return undefined;
  const host = hostPlatform();
  // One word is an operating system or an architecture.
  if (second === undefined)
    return first === 'linux' || first === 'windows'
      ? { ...host, os: first }
      : { os: host.os, architecture: goName(first) };
  return { os: first, architecture: goName(second), ...(variant !== undefined && { variant }) };
}

function goName(architecture: string): string {
  const others: Readonly<Record<string, string>> = {
    x86_64: 'amd64',
    aarch64: 'arm64',
    i386: '386',
    armhf: 'arm',
  };
  return others[architecture] ?? architecture;
}

/**
 * Variants of an architecture are levels, each running what those below it run; without one, the
 * lowest that all have.
 */
function levelOf({ architecture, variant }: Platform): number {
  const level = Number(/^v(\d+)/.exec(variant ?? '')?.[1]);
  if (Number.isInteger(level)) return level;
  return { amd64: 1, arm: 7, arm64: 8 }[architecture] ?? 0;
}

/**
 * Architectures whose programs another runs as well, as 32 bits on a processor of 64 (containerd,
 * platforms/compare.go, platformVector): taken where there is nothing for the wanted one.
 */
function alsoRun({ os, architecture }: Platform): Platform[] {
  if (architecture === 'amd64') return [{ os, architecture: '386' }];
  return architecture === 'arm64' ? [{ os, architecture: 'arm', variant: 'v8' }] : [];
}

/** The index of the best one for `wanted`; undefined when none will run. */
export function choosePlatform(
  candidates: readonly (Platform | undefined)[],
  wanted: Platform,
): number | undefined {
  for (const each of [wanted, ...alsoRun(wanted)]) {
    const best = bestLevel(candidates, each);
    if (best !== undefined) return best;
  }
  return undefined;
}

/** Of those for the architecture of `wanted`, the first of the highest level that it runs. */
function bestLevel(
  candidates: readonly (Platform | undefined)[],
  wanted: Platform,
): number | undefined {
  let best: number | undefined;
  let highest = -1;
  for (const [index, candidate] of candidates.entries()) {
    if (candidate?.os !== wanted.os || candidate.architecture !== wanted.architecture) continue;
    const level = levelOf(candidate);
    if (level <= levelOf(wanted) && level > highest) [best, highest] = [index, level];
  }
  return best;
}
