/** Words for Docker containers. */
import type { ContainerHealth } from '../api/ContainerHealth';
import type { ContainerProblem } from '../api/ContainerProblem';
import type { ContainerState } from '../api/ContainerState';
import type { Tone } from './states';

/** A container's state; its health and exit code stand behind it. */
export const containerStates: Record<ContainerState, { word: string; tone: Tone }> = {
  created: { word: 'Never started', tone: 'idle' },
  running: { word: 'Running', tone: 'good' },
  paused: { word: 'Paused', tone: 'idle' },
  restarting: { word: 'Restarting', tone: 'busy' },
  stopping: { word: 'Stopping', tone: 'busy' },
  removing: { word: 'Being removed', tone: 'busy' },
  exited: { word: 'Ended', tone: 'idle' },
  dead: { word: 'Dead', tone: 'attention' },
  unknown: { word: 'State not known', tone: 'idle' },
};

/** `null`: there is no health check. */
export const containerHealths: Record<ContainerHealth, string | null> = {
  none: null,
  starting: 'health not known yet',
  healthy: 'healthy',
  unhealthy: 'unhealthy',
};

export const containerProblems: Record<ContainerProblem, { why: string; tone: Tone }> = {
  unhealthy: { why: 'Its health check fails. Programs that use it may get no answer.', tone: 'attention' },
  keeps_restarting: { why: 'It ends again and again, and Docker starts it again each time.', tone: 'broken' },
  failed: { why: 'It has ended with an error. Nothing answers in its place.', tone: 'broken' },
};

export const containers = {
  title: 'Containers',
  absent: (reason: string) => `Containers: ${reason}.`,
  engine: (version: string | null) => (version === null ? null : `Docker ${version}`),
  all: (n: number) => (n === 1 ? '1 container' : `${n} containers`),
  troubled: (n: number) => (n === 1 ? '1 needs attention' : `${n} need attention`),
  inMemory: (memory: string) => `${memory} in memory`,
  none: 'There is none.',
  name: 'Container',
  state: 'State',
  memory: 'Memory',
  cpu: 'CPU',
  ports: 'Ports',
  exitCode: (code: number, outOfMemory: boolean) => (outOfMemory ? `out of memory (code ${code})` : `code ${code}`),
  restarts: (n: number) => (n === 1 ? '1 restart' : `${n} restarts`),
  look: 'Look at its log:',
  log: (name: string) => `docker logs ${name}`,
  cpuMeaning: '100 % is one core fully used',
  noCpu: 'Not running, or read only once so far',
  limit: (source: string, limit: string | null) => (limit === null ? source : `${source}; at most ${limit}`),
};
