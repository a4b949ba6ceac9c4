/** What a timeline shows: one or two runs on one axis of time. */
import type { GaugeHistory } from '../api/GaugeHistory';
import type { Comparison } from '../api/Comparison';
import type { RunDetail } from '../api/RunDetail';
import { columns, emptyHistory, type Column } from '../series';
import { segmentsOf, type Segment } from './comparison';
import { readingsOf } from './readings';

export interface Timeline {
  history: GaugeHistory;
  /** Unix milliseconds of its zero. */
  origin: number;
  segments: Segment[];
}

/** Measured in turns: both runs on one axis. Else one axis for each, side A first. Without what has no readings. */
export function timelinesOf(of: Comparison, a: RunDetail, b: RunDetail): Timeline[] {
  const begin = (detail: RunDetail) => Date.parse(detail.run.started_at);
  const shared = of.paired ? unionOf(readingsOf(a), readingsOf(b)) : null;
  if (shared !== null)
    return [{ history: shared, origin: begin(a), segments: segmentsOf(a.trials, b.trials, begin(b) - begin(a)) }];
  const alone = [
    { history: readingsOf(a), origin: begin(a), segments: segmentsOf(a.trials, []) },
    { history: readingsOf(b), origin: begin(b), segments: segmentsOf([], b.trials) },
  ];
  return alone.filter((one): one is Timeline => one.history !== null && one.history.at_ms.length > 1);
}

/** The rows of both by time; where both have one the first's. */
export function unionOf(a: GaugeHistory | null, b: GaugeHistory | null): GaugeHistory | null {
  if (a === null || b === null) return a ?? b;
  const rows = new Map<number, [GaugeHistory, number]>();
  for (const one of [b, a]) for (const [index, at] of one.at_ms.entries()) rows.set(at, [one, index]);
  const united = emptyHistory();
  united.step_ms = Math.min(a.step_ms, b.step_ms);
  for (const [at, [from, index]] of [...rows].sort(([x], [y]) => x - y)) {
    united.at_ms.push(at);
    for (const column of columns) united[column].push(from[column][index] ?? null);
  }
  return united;
}

/** The two columns worth a line: how busy, and at what cost. The GPU's where they are known. */
export function shownColumns(history: GaugeHistory): Column[] {
  const known = (column: Column) => history[column].some((value) => value !== null);
  const busy = (['gpu_load_percent', 'cpu_percent'] as const).find(known);
  const cost = (['gpu_power_w', 'servers_memory_bytes'] as const).find(known);
  return [busy, cost].filter((column): column is NonNullable<typeof column> => column !== undefined);
}

/** Whose request was under way. `at`: ms since the origin. */
export function segmentAt(segments: Segment[], at: number): Segment | null {
  return segments.find((segment) => at >= segment.from && at <= segment.to) ?? null;
}
