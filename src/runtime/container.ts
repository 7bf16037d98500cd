/**
 * The container's first process, as the supervisor starts and leads it until it is the container's
 * program.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { bytesOf } from '../base/bytes.js';
import { check, E } from '../base/errno.js';
import { errorOf, messageOf, PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import * as c from '../sys/constants.js';
import { sessions, sys } from '../sys/index.js';
import { moveToOwnGroups, type ContainerGroups } from './control-groups.js';
import { stepsToBecome, stepsToShow, type GivenDescriptors, type Step } from './container-steps.js';
import { sealedFirstProgram } from './first-program.js';
import { eachOutcome, recordOf } from './operations.js';
import type { SupervisorPlan } from './plan.js';
import { readInRoot } from './read-in-root.js';
import { findUser, type User } from './user.js';

export interface Container {
  readonly child: ChildProcess;
  /** Settles when it runs its program. */
  readonly running: Promise<void>;
  /** To be removed when it has ended; absent where an OCI runtime makes them. */
  readonly groups?: ContainerGroups;
}

/** What the supervisor has ready for a container. */
export interface ContainerHost {
  /** A procfs of this PID namespace. */
  readonly proc: number;
  /**
   * Of the union: whose files' owners are kept where ids are emulated (native/root-emulation.h).
   */
  readonly device: readonly [major: number, minor: number];
  /** The directory of its devices. */
  readonly devicesAt: string;
}

/**
 * `terminal`: a socket that the other end of the container's terminal is sent over; it stays the
 * caller's.
 */
export function startContainer(
  plan: SupervisorPlan,
  host: ContainerHost,
  terminal: number | undefined,
): Container {
  const filter = plan.ids === 'emulated' ? sessions.socketpair() : undefined;
  if (typeof filter === 'number')
    throw new PlyfsError('sandbox-failed', `No socket can be had (${reasonOf(-filter)}).`);
  const stdio: ('inherit' | 'pipe' | number)[] = ['inherit', 'inherit', 'inherit', 'pipe'];
  const control = stdio.length - 1;
  const given: GivenDescriptors = {
    ...(terminal !== undefined && { terminal: stdio.push(terminal) - 1 }),
    ...(filter !== undefined && { filter: stdio.push(filter[1]) - 1 }),
  };
  const program = sealedFirstProgram();
  const ours = check(
    sys.openat(c.AT_FDCWD, bytesOf('/proc/self/ns/pid'), c.O_RDONLY | c.O_CLOEXEC, 0),
    'pid namespace',
  );
  // What is started between the two calls is process 1 of a namespace of its own. Threads could not
  // be started meanwhile, and are not.
  check(sys.unshare(c.CLONE_NEWPID), 'unshare');
  // By this process's descriptor: numbers of the child's are those of `stdio`.
  const child = spawn(
    `/proc/${process.pid}/fd/${program}`,
    [String(control), String(stdio.length)],
    { argv0: 'container-init', stdio },
  );
  check(sys.setns(ours, c.CLONE_NEWPID), 'setns');
  for (const fd of [ours, program]) sys.close(fd);
  if (filter !== undefined) sys.close(filter[1]);
  // Before it is told to take a cgroup namespace.
  const groups = child.pid === undefined ? undefined : moveToOwnGroups(child.pid);
  const running = lead(child, child.stdio[control] as Socket, plan, given, host, filter?.[0]);
  return { child, running, ...(groups !== undefined && { groups }) };
}

function lead(
  child: ChildProcess,
  channel: Socket,
  plan: SupervisorPlan,
  given: GivenDescriptors,
  host: ContainerHost,
  filter: number | undefined,
): Promise<void> {
  const steps: Step[] = [];
  const send = (more: readonly Step[]): void => {
    for (const step of more) {
      const record = recordOf(step.operation, step);
      if (record === undefined)
        throw step.failure?.(E.E2BIG) ?? notMade(step.operation.do, E.E2BIG);
      channel.write(record);
    }
    steps.push(...more);
  };
  return new Promise<void>((resolve, reject) => {
    let user: User | undefined;
    const begin = (): void => {
      user = findUser(
        plan.process.user,
        readInRoot(`/proc/${child.pid as number}/root`, ['/etc/passwd', '/etc/group']),
      );
      if (plan.ids === 'single' && (user.uid !== 0 || user.gid !== 0)) {
        throw new PlyfsError(
          'ids-missing',
          'Only root can be had here: have a range of ids granted in /etc/subuid and /etc/subgid.',
        );
      }
      send(stepsToBecome(plan, user, given));
    };
    eachOutcome(channel, ({ index, errno }) => {
      try {
        const step = steps[index];
        if (errno !== 0)
          throw step?.failure?.(errno) ?? notMade(step?.operation.do ?? 'plan', errno);
        if (step?.operation.do === 'report') begin();
        if (step?.operation.do === 'emulate' && filter !== undefined && user !== undefined)
          emulate(filter, host, user);
      } catch (error) {
        reject(errorOf(error));
        child.kill('SIGKILL');
      }
    });
    channel.on('error', () => undefined);
    // It closes when the program takes the process's place.
    channel.once('close', () => {
      if (user !== undefined) resolve();
      else reject(new PlyfsError('sandbox-failed', 'The container ended before it had begun.'));
    });
    child.once('error', (error) => {
      reject(
        new PlyfsError(
          'sandbox-denied',
          `A program in memory, which a container starts from, cannot be run here (${messageOf(error)}).`,
          {
            cause: error,
          },
        ),
      );
    });
    send(stepsToShow(plan, host.devicesAt, given));
  });
}

function notMade(what: string, errno: number): PlyfsError {
  return new PlyfsError(
    'sandbox-failed',
    `The container cannot be made: ${what} failed (${reasonOf(errno)}).`,
  );
}

/** Waits for the container's filter, which it sends next. */
function emulate(
  socket: number,
  { proc, device }: ContainerHost,
  { uid, gid, groups }: User,
): void {
  const listener = sessions.receiveFd(socket);
  sys.close(socket);
  if (listener < 0)
    throw new PlyfsError(
      'sandbox-failed',
      `The container's calls cannot be followed (${reasonOf(-listener)}).`,
    );
  check(
    sys.startRootEmulation(
      listener,
      proc,
      device[0],
      device[1],
      uid,
      gid,
      Float64Array.from(groups),
    ),
    'emulation',
  );
}
