/**
 * Docker's container.Config as JSON, in an image's configuration: read for being changed, and
 * written with its fields in Docker's order.
 */
import type { ContainerConfig, Healthcheck } from './dockerfile-changes.js';
import { goJson, goMap, goObject, type RawJson } from './go-json.js';
import { parseRunConfig } from './image-config.js';
import type { JsonDocument, JsonObject } from './json.js';

/**
 * What this program does not change is written as it was: fields that Docker has, in their places,
 * others last.
 */
const changed: ReadonlySet<string> = new Set([
  ...[
    'Hostname',
    'Domainname',
    'User',
    'AttachStdin',
    'AttachStdout',
    'AttachStderr',
    'ExposedPorts',
    'Tty',
    'OpenStdin',
    'StdinOnce',
  ],
  ...[
    'Env',
    'Cmd',
    'Healthcheck',
    'Image',
    'Volumes',
    'WorkingDir',
    'Entrypoint',
    'OnBuild',
    'Labels',
    'StopSignal',
  ],
]);

/** Throws the document's error. */
export function parseContainerConfig(json: JsonDocument, config: JsonObject): ContainerConfig {
  const { user, env, entrypoint, cmd, workingDir, exposedPorts, volumes, labels, stopSignal } =
    parseRunConfig(json, config);
  return {
    user,
    exposedPorts: new Set(exposedPorts),
    env: [...env],
    cmd: config['Cmd'] === null || config['Cmd'] === undefined ? null : [...cmd],
    healthcheck: parseHealthcheck(
      json,
      json.optionalObject(config['Healthcheck'], 'config.Healthcheck'),
    ),
    volumes: new Set(volumes),
    workingDir,
    entrypoint:
      config['Entrypoint'] === null || config['Entrypoint'] === undefined ? null : [...entrypoint],
    onBuild: json.strings(config['OnBuild'], 'config.OnBuild'),
    labels: new Map(labels),
    stopSignal,
  };
}

function parseHealthcheck(
  json: JsonDocument,
  value: JsonObject | undefined,
): Healthcheck | undefined {
  if (value === undefined) return undefined;
  const number = (name: string): number =>
    value[name] === undefined ? 0 : json.count(value[name], `config.Healthcheck.${name}`);
  return {
    test: json.strings(value['Test'], 'config.Healthcheck.Test'),
    interval: number('Interval'),
    timeout: number('Timeout'),
    startPeriod: number('StartPeriod'),
    retries: number('Retries'),
  };
}

/**
 * `former`: what it was made from. What concerns one container only, its host name and terminal, is
 * left behind.
 */
export function containerJson(config: ContainerConfig, former: JsonObject = {}): RawJson {
  const { exposedPorts, healthcheck, volumes, labels, onBuild, stopSignal, env } = config;
  const set = (names: ReadonlySet<string>): RawJson =>
    goMap(new Map([...names].map((name) => [name, goJson({})])));
  const orNull = (empty: boolean, value: RawJson): RawJson => (empty ? goJson(null) : value);
  const kept = (...names: string[]): [string, RawJson][] =>
    names.filter((name) => former[name] !== undefined).map((name) => [name, goJson(former[name])]);
  const fields: [string, RawJson][] = [
    ['Hostname', goJson('')],
    ['Domainname', goJson('')],
    ['User', goJson(config.user)],
    ['AttachStdin', goJson(false)],
    ['AttachStdout', goJson(false)],
    ['AttachStderr', goJson(false)],
  ];
  if (exposedPorts.size > 0) fields.push(['ExposedPorts', set(exposedPorts)]);
  fields.push(
    ['Tty', goJson(false)],
    ['OpenStdin', goJson(false)],
    ['StdinOnce', goJson(false)],
    ['Env', orNull(env.length === 0, goJson(env))],
    ['Cmd', goJson(config.cmd)],
  );
  if (healthcheck !== undefined) fields.push(['Healthcheck', healthcheckJson(healthcheck)]);
  fields.push(...kept('ArgsEscaped'));
  fields.push(
    ['Image', goJson(former['Image'] ?? '')],
    ['Volumes', orNull(volumes.size === 0, set(volumes))],
    ['WorkingDir', goJson(config.workingDir)],
    ['Entrypoint', goJson(config.entrypoint)],
  );
  fields.push(...kept('NetworkDisabled', 'MacAddress'));
  fields.push(
    ['OnBuild', orNull(onBuild.length === 0, goJson(onBuild))],
    [
      'Labels',
      orNull(
        labels.size === 0,
        goMap(new Map([...labels].map(([name, value]) => [name, goJson(value)]))),
      ),
    ],
  );
  if (stopSignal !== '') fields.push(['StopSignal', goJson(stopSignal)]);
  const written = new Set(fields.map(([name]) => name));
  fields.push(
    ...kept(...Object.keys(former).filter((name) => !written.has(name) && !changed.has(name))),
  );
  return goObject(fields);
}

function healthcheckJson({ test, interval, timeout, startPeriod, retries }: Healthcheck): RawJson {
  return goJson({
    Test: test,
    ...(interval > 0 && { Interval: interval }),
    ...(timeout > 0 && { Timeout: timeout }),
    ...(startPeriod > 0 && { StartPeriod: startPeriod }),
    ...(retries > 0 && { Retries: retries }),
  });
}
