/** Simulated trends and sizes of a history: for development and tests, never in a production build. All figures are invented. */
import type { ChangePoint } from '../../api/ChangePoint';
import type { HistorySize } from '../../api/HistorySize';
import type { Run } from '../../api/Run';
import type { RunState } from '../../api/RunState';
import type { SeriesMetric } from '../../api/SeriesMetric';
import type { Summary } from '../../api/Summary';
import type { Trend } from '../../api/Trend';

/** Which runs a call is about. */
export interface RunChoice {
  model?: string;
  server?: string;
  plan?: string;
  state?: RunState;
  since_ms?: number;
  until_ms?: number;
}

type Value = Pick<Summary, 'median' | 'low' | 'high'>;

function valueOf(run: Run, metric: SeriesMetric): Value | null {
  const alone = (value: number | null) => (value === null ? null : { median: value, low: value, high: value });
  switch (metric) {
    case 'memory_bytes':
      return alone(run.peak_memory_bytes);
    case 'energy_j_per_token':
      return alone(run.energy_j_per_token);
    default:
      return run[metric];
  }
}

/** One for each model, server and plan of these runs, newest first as they are. */
export function trendsOf(runs: Run[], metric: SeriesMetric = 'decode_tok_s'): Trend[] {
  const groups = new Map<string, Run[]>();
  for (const run of runs) {
    if (run.state !== 'done' || valueOf(run, metric) === null) continue;
    const key = `${run.server} ${run.model} ${run.plan.name}`;
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  return [...groups.values()].flatMap((group) => {
    const first = group[0];
    if (first === undefined) return [];
    const points = [...group].reverse().flatMap((run) => {
      const value = valueOf(run, metric);
      return value === null
        ? []
        : [{ run_id: run.run_id, at: run.started_at, median: value.median, low: value.low, high: value.high }];
    });
    const { server, model, plan } = first;
    const watch: Trend['watch'] = {
      state: 'steady',
      baseline: null,
      now: null,
      worse_by: null,
      since_run: null,
      since: null,
      runs: [],
      changed: [],
      words: 'Decode is as before',
    };
    return [{ server, model, plan: plan.name, metric, points, watch, change_points: changesOf(points) }];
  });
}

/** In the middle of a long enough line. */
function changesOf(points: Trend['points']): ChangePoint[] {
  const middle = points[Math.floor(points.length / 2)];
  if (middle === undefined || points.length < 4) return [];
  return [
    {
      run_id: middle.run_id,
      at: middle.at,
      before: middle.median * 1.1,
      after: middle.median,
      change: -0.09,
      is_better: false,
      p: 0.0004,
      changed: [{ key: 'server_version', before: 'b10061', after: 'b10068' }],
      words: 'Decode grew 9 % worse; with it came server version b10068 instead of b10061',
    },
  ];
}

export function sizeOf(runs: number): HistorySize {
  const kind = (
    kind: HistorySize['kinds'][number]['kind'],
    rows: number,
    bytes: number,
    days: number | null,
    next = 0,
  ) => ({
    kind,
    rows,
    bytes,
    days,
    next_rows: next,
    next_bytes: rows === 0 ? 0 : Math.round((bytes * next) / rows),
  });
  return {
    file_bytes: 1.2e6,
    free_bytes: 0,
    runs,
    trials: runs * 12,
    samples: 900,
    tables: [],
    kinds: [
      kind('runs', runs, 0.1e6, null),
      kind('trials', runs * 10, 0.3e6, null),
      kind('warmups', runs * 2, 0.06e6, 30, 4),
      kind('gaps', runs * 10, 0.2e6, 90),
      kind('samples', 900, 0.5e6, 30, 300),
      kind('minutes', 0, 4096, 365),
      kind('requests', 0, 4096, 30),
    ],
    measured_at: null,
  };
}
