/** Simulated containers of a Docker engine. All figures are invented. */
import type { ContainerReading } from '../../api/ContainerReading';
import type { Snapshot } from '../../api/Snapshot';

const GB = 1e9;

function container(name: string, now: number, more: Partial<ContainerReading>): ContainerReading {
  return {
    id: name.padEnd(64, '0'),
    name,
    image: `example/${name}:1`,
    state: 'running',
    health: 'healthy',
    status: 'Up 3 hours (healthy)',
    problem: null,
    exit_code: null,
    oom_killed: false,
    ports: [],
    memory_bytes: 0.21 * GB,
    memory_source: 'usage without inactive_file (control groups version 2)',
    memory_limit_bytes: 8 * GB,
    cpu_percent: 0.6,
    restart_count: 0,
    restart_policy: 'always',
    since: new Date(now - 10_800_000).toISOString(),
    ...more,
  };
}

/** Four containers, two of them unhealthy; in trouble also one that restarts and one that ended. */
export function containers(
  there: boolean,
  trouble: boolean,
  now: number,
): Pick<Snapshot, 'containers' | 'containers_absent'> {
  if (!there) return { containers: null, containers_absent: 'no Docker here: none of its sockets exists' };
  const sick = { problem: 'unhealthy', health: 'unhealthy', status: 'Up 3 hours (unhealthy)' } as const;
  const ended = {
    health: 'none',
    memory_bytes: null,
    memory_bytes_absent: 'not running',
    memory_source: null,
    memory_limit_bytes: null,
    cpu_percent: null,
  } as const;
  const list = [
    container('admin', now, { ...sick, ports: ['5050 → 80/tcp'], memory_bytes: 0.182 * GB }),
    container('search', now, { ...sick, ports: ['8080 → 8080/tcp'], memory_bytes: 0.412 * GB, cpu_percent: 3.4 }),
    container('database', now, { ports: ['5432 → 5432/tcp'], memory_bytes: 0.096 * GB }),
    container('vectors', now, {
      health: 'none',
      status: 'Up 3 hours',
      ports: ['6333 → 6333/tcp', '6334 → 6334/tcp'],
      memory_bytes: 0.73 * GB,
    }),
  ];
  if (trouble) {
    list.push(
      container('importer', now, {
        ...ended,
        problem: 'failed',
        state: 'exited',
        status: 'Exited (137) 5 minutes ago',
        exit_code: 137,
        oom_killed: true,
      }),
      container('indexer', now, {
        ...ended,
        problem: 'keeps_restarting',
        state: 'restarting',
        status: 'Restarting (1) 5 seconds ago',
        exit_code: 1,
        restart_count: 14,
      }),
    );
  }
  list.sort((a, b) => Number(a.problem === null) - Number(b.problem === null) || a.name.localeCompare(b.name));
  const at = new Date(now).toISOString();
  const containers = { at, engine_version: '28.3.2', socket: '/var/run/docker.sock', list, incomplete: null };
  return { containers, containers_absent: null };
}
