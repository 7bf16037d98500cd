/**
 * The Dockerfile instructions that `docker import --change` and `docker commit --change` take,
 * applied to a container's configuration (moby, builder/dockerfile, validCommitCommands,
 * dispatchers.go; BuildKit, frontend/dockerfile/instructions and parser).
 *
 * CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR;
 * each change is a line, or several.
 */
import { UsageError } from '../base/error.js';
import { expandWord, splitPairs, splitWords } from './dockerfile-words.js';

/** Changes to the fields of Docker's container.Config that instructions can set. */
export interface ContainerConfig {
  user: string;
  exposedPorts: Set<string>;
  env: string[];
  cmd: string[] | null;
  healthcheck: Healthcheck | undefined;
  volumes: Set<string>;
  workingDir: string;
  entrypoint: string[] | null;
  onBuild: string[];
  labels: Map<string, string>;
  stopSignal: string;
}

export interface Healthcheck {
  readonly test: readonly string[];
  /** Nanoseconds; 0: what Docker takes when it is not said. */
  readonly interval: number;
  readonly timeout: number;
  readonly startPeriod: number;
  readonly retries: number;
}

export function emptyContainerConfig(): ContainerConfig {
  return {
    user: '',
    exposedPorts: new Set(),
    env: [],
    cmd: null,
    healthcheck: undefined,
    volumes: new Set(),
    workingDir: '',
    entrypoint: null,
    onBuild: [],
    labels: new Map(),
    stopSignal: '',
  };
}

/** Throws `usage`. */
export function applyChanges(config: ContainerConfig, changes: readonly string[]): void {
  if (changes.length === 0) return;
  const lines = [...logicalLines(changes.join('\n'))];
  if (lines.length === 0)
    throw new UsageError('A change is empty: it must be an instruction, such as CMD ["/bin/sh"].');
  let commandSet = false;
  for (const line of lines) {
    applyChange(config, line);
    if (/^CMD\b/i.test(line)) commandSet = true;
    // A new entrypoint does not get the arguments that were meant for the former one.
    else if (/^ENTRYPOINT\b/i.test(line) && !commandSet) config.cmd = null;
  }
}

/** Without comments and empty lines; a line that ends in a backslash goes on with the next one. */
function* logicalLines(text: string): Generator<string> {
  let pending = '';
  for (const raw of text.split('\n')) {
    if (/^\s*#/.test(raw) || (raw.trim() === '' && pending !== '')) continue;
    const line = pending === '' ? raw.trimStart() : raw;
    const continued = /\\[ \t]*$/.exec(line);
    if (continued !== null) {
      pending += line.slice(0, continued.index);
      continue;
    }
    const whole = (pending + line).trim();
    pending = '';
    if (whole !== '') yield whole;
  }
  if (pending.trim() !== '') yield pending.trim();
}

type Instruction = (config: ContainerConfig, rest: string, line: string) => void;

const instructions: Readonly<Record<string, Instruction>> = {
  CMD: (config, rest, line) => (config.cmd = commandOf(rest, line)),
  ENTRYPOINT: (config, rest, line) => {
    const command = rest === '' ? [] : commandOf(rest, line);
    config.entrypoint = command.length === 0 ? null : command;
  },
  ENV: (config, rest, line) => {
    // None of a line's variables is seen by the others.
    const pairs = splitPairs(rest, line).map(
      ([key, value]) => [expand(config, key, line), expand(config, value, line)] as const,
    );
    for (const [key, value] of pairs) setEnv(config, key, value, line);
  },
  LABEL: (config, rest, line) => {
    for (const [key, value] of splitPairs(rest, line))
      config.labels.set(expand(config, key, line), expand(config, value, line));
  },
  EXPOSE: (config, rest, line) => {
    for (const word of atLeastOne(splitWords(expandUnquoted(config, rest, line)), line))
      for (const port of portsOf(word, line)) config.exposedPorts.add(port);
  },
  USER: (config, rest, line) => (config.user = expand(config, exactlyOne(rest, line), line)),
  VOLUME: (config, rest, line) => {
    for (const word of atLeastOne(jsonWords(rest, line) ?? splitWords(rest), line)) {
      const volume = expand(config, word, line);
      if (volume === '') throw wrong(line, 'the name of a volume is empty');
      config.volumes.add(volume);
    }
  },
  WORKDIR: (config, rest, line) =>
    (config.workingDir = joined(config.workingDir, expand(config, exactlyOne(rest, line), line))),
  STOPSIGNAL: (config, rest, line) =>
    (config.stopSignal = expand(config, exactlyOne(rest, line), line)),
  HEALTHCHECK: (config, rest, line) => (config.healthcheck = healthcheckOf(rest, line)),
  ONBUILD: (config, rest, line) => {
    const trigger = /^[A-Za-z]+/.exec(rest)?.[0].toUpperCase();
    if (trigger === undefined) throw wrong(line, 'an instruction must follow');
    if (trigger === 'ONBUILD') throw wrong(line, "chaining ONBUILD isn't allowed");
    if (trigger === 'FROM' || trigger === 'MAINTAINER')
      throw wrong(line, `${trigger} isn't allowed as an ONBUILD trigger`);
    config.onBuild.push(rest);
  },
};

function applyChange(config: ContainerConfig, line: string): void {
  const match = /^(\S+)\s*([^]*)$/.exec(line);
  const [, word = '', rest = ''] = match ?? [];
  const instruction = instructions[word.toUpperCase()];
  if (instruction === undefined) {
    throw new UsageError(
      `"${word}" cannot be a change: it is none of ${Object.keys(instructions).join(', ')}.`,
    );
  }
  instruction(config, rest.trim(), line);
}

function wrong(line: string, why: string): UsageError {
  return new UsageError(`The change "${line}" cannot be made: ${why}.`);
}

/** A JSON array of strings, or undefined for anything that is no JSON array. */
function jsonWords(rest: string, line: string): string[] | undefined {
  if (!rest.startsWith('[')) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(rest);
  } catch {
    return undefined;
  }
  if (!Array.isArray(parsed)) return undefined;
  if (!parsed.every((word) => typeof word === 'string'))
    throw wrong(line, 'a JSON array must be of strings only');
  return parsed;
}

/** What is no JSON is for a shell. */
function commandOf(rest: string, line: string): string[] {
  return jsonWords(rest, line) ?? ['/bin/sh', '-c', ...(rest === '' ? [] : [rest])];
}

function atLeastOne(words: readonly string[], line: string): readonly string[] {
  if (words.length === 0) throw wrong(line, 'it requires at least one argument');
  return words;
}

function exactlyOne(rest: string, line: string): string {
  if (rest === '') throw wrong(line, 'it requires exactly one argument');
  return rest;
}

function expand(config: ContainerConfig, word: string, line: string): string {
  return expandWord(
    word,
    (name) => valueOf(config.env, name),
    (why) => wrong(line, why),
  );
}

/** EXPOSE takes variables that hold several ports. */
function expandUnquoted(config: ContainerConfig, rest: string, line: string): string {
  return splitWords(rest)
    .map((word) => expand(config, word, line))
    .join(' ');
}

function valueOf(env: readonly string[], name: string): string | undefined {
  return env.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
}

function setEnv(config: ContainerConfig, key: string, value: string, line: string): void {
  if (key === '') throw wrong(line, 'the name of a variable is empty');
  const index = config.env.findIndex((entry) => entry.startsWith(`${key}=`));
  if (index < 0) config.env.push(`${key}=${value}`);
  else config.env[index] = `${key}=${value}`;
}

/**
 * `[ip:][host:]port[-port][/protocol]`, of which only the container's port is kept (go-connections,
 * nat.ParsePortSpec).
 */
function portsOf(word: string, line: string): string[] {
  const [spec = '', protocol = 'tcp', ...more] = word.split('/');
  const container = spec.slice(spec.lastIndexOf(':') + 1);
  const range = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(container);
  const name = protocol.toLowerCase();
  if (range === null || more.length > 0 || !['tcp', 'udp', 'sctp'].includes(name))
    throw wrong(line, `"${word}" is no port`);
  const [first, last] = [Number(range[1]), Number(range[2] ?? range[1])];
  if (last > 65535 || first > last)
    throw wrong(line, `"${word}" is no port, or range of ports, up to 65535`);
  return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${name}`);
}

/** As Go's filepath.Join: absolute, without `.`, `..` and doubled slashes. */
function joined(current: string, directory: string): string {
  const path = directory.startsWith('/') ? directory : `${current}/${directory}`;
  const components: string[] = [];
  for (const component of path.split('/')) {
    if (component === '..') components.pop();
    else if (component !== '' && component !== '.') components.push(component);
  }
  return `/${components.join('/')}`;
}

function healthcheckOf(rest: string, line: string): Healthcheck {
  const flags = new Map<string, string>();
  let left = rest;
  for (
    let match = /^--([a-z-]+)=(\S+)\s*/.exec(left);
    match !== null;
    match = /^--([a-z-]+)=(\S+)\s*/.exec(left)
  ) {
    flags.set(match[1]!, match[2]!);
    left = left.slice(match[0].length);
  }
  const [, type = '', command = ''] = /^(\S+)\s*([^]*)$/.exec(left) ?? [];
  const base = { interval: 0, timeout: 0, startPeriod: 0, retries: 0 };
  if (type.toUpperCase() === 'NONE') {
    if (command !== '' || flags.size > 0) throw wrong(line, 'HEALTHCHECK NONE takes no arguments');
    return { ...base, test: ['NONE'] };
  }
  if (type.toUpperCase() !== 'CMD') throw wrong(line, `"${type}" is neither CMD nor NONE`);
  const words = jsonWords(command, line);
  if (command === '' || words?.length === 0)
    throw wrong(line, 'a command must follow HEALTHCHECK CMD');
  const duration = (name: string): number => {
    const text = flags.get(name);
    flags.delete(name);
    return text === undefined ? 0 : durationOf(text, line);
  };
  const times = {
    interval: duration('interval'),
    timeout: duration('timeout'),
    startPeriod: duration('start-period'),
  };
  const retries = flags.get('retries') ?? '0';
  flags.delete('retries');
  if (!/^\d{1,9}$/.test(retries)) throw wrong(line, `"${retries}" is no number of retries`);
  const [unknown] = flags.keys();
  if (unknown !== undefined) throw wrong(line, `--${unknown} is no option of HEALTHCHECK`);
  return {
    ...times,
    retries: Number(retries),
    test: words === undefined ? ['CMD-SHELL', command] : ['CMD', ...words],
  };
}

const units: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/**
 * As Go's time.ParseDuration: `1m30s`. In nanoseconds; at least a millisecond, as Docker wants it.
 */
function durationOf(text: string, line: string): number {
  const pattern = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/gy;
  let total = 0;
  let end = 0;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    total += Number(match[1]) * units[match[2]!]!;
    end = pattern.lastIndex;
  }
  if (end !== text.length || text === '')
    throw wrong(line, `"${text}" is no duration, such as 1m30s`);
  const nanoseconds = Math.round(total);
  if (nanoseconds !== 0 && (nanoseconds < 1e6 || !Number.isSafeInteger(nanoseconds)))
    throw wrong(line, `"${text}" is no duration that can be kept: at least 1ms`);
  return nanoseconds;
}
