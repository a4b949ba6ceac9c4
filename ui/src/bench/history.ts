/** Pure questions about past runs: which are shown, and how a figure went over time. */
import { repeats } from './plans';
import type { Run } from '../api/Run';
import type { RunState } from '../api/RunState';
import type { Summary } from '../api/Summary';

export const PAGE = 50;

export interface Filter {
  plan: string;
  state: RunState | '';
}

/** What the engine does not filter by itself. Empty: all. */
export function filtered(runs: Run[], { plan, state }: Filter): Run[] {
  return runs.filter((run) => (plan === '' || run.plan.name === plan) && (state === '' || run.state === state));
}

/** One page, the newest first; a page that is no more is the last one. */
export function pageOf<T>(all: T[], page: number, size = PAGE): { items: T[]; page: number; pages: number } {
  const pages = Math.max(1, Math.ceil(all.length / size));
  const here = Math.min(Math.max(0, page), pages - 1);
  return { items: all.slice(here * size, (here + 1) * size), page: here, pages };
}

/** What of runs can be followed over time. */
export const trendMetrics = ['decode', 'prefill', 'ttft', 'e2e', 'memory', 'energy'] as const;
export type TrendMetric = (typeof trendMetrics)[number];

/** Median, low and high; what has no spread has its own value as both. */
type Value = Pick<Summary, 'median' | 'low' | 'high'>;

const GB = 1e9;

export function trendValue(run: Run, metric: TrendMetric): Value | null {
  const alone = (value: number | null): Value | null =>
    value === null ? null : { median: value, low: value, high: value };
  switch (metric) {
    case 'decode':
      return run.decode_tok_s;
    case 'prefill':
      return run.prefill_tok_s;
    case 'ttft':
      return run.ttft_ms;
    case 'e2e':
      return run.e2e_ms;
    case 'memory': {
      const { peak_memory_bytes: ram, peak_gpu_memory_bytes: cards } = run;
      return ram === null && cards === null ? null : alone(((ram ?? 0) + (cards ?? 0)) / GB);
    }
    case 'energy':
      return alone(run.energy_j_per_token);
  }
}

export interface Trend {
  key: string;
  /** The newest run of it. */
  run: Run;
  /** Whether the same model on the same server has another trend, with other lengths of prompt and answer. */
  twin: boolean;
  /** Seconds, medians, lows, highs: oldest first. */
  data: [number[], number[], number[], number[]];
}

/**
 * One trend for each model, server and length of prompt and answer of which at least two finished runs have the figure, those
 * with the most runs first. Sweeps are measured differently and left out.
 */
export function trends(runs: Run[], metric: TrendMetric, most: number): Trend[] {
  const groups = new Map<string, Run[]>();
  for (const run of runs) {
    if (run.state !== 'done' || run.sweep !== null || !repeats(run.plan) || trendValue(run, metric) === null) continue;
    const key = `${run.server}/${run.model} ${run.plan.prompt_words} ${run.plan.max_tokens}`;
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  const found = [...groups].filter(([, list]) => list.length > 1).sort(([, a], [, b]) => b.length - a.length);
  const of = (run: Run) => `${run.server}/${run.model}`;
  return found.slice(0, most).flatMap(([key, list]) => {
    const run = list[0];
    if (run === undefined) return [];
    const twin = found.filter(([, [first]]) => first && of(first) === of(run)).length > 1;
    return [{ key, run, twin, data: columnsOf(list, metric) }];
  });
}

function columnsOf(newestFirst: Run[], metric: TrendMetric): Trend['data'] {
  const data: Trend['data'] = [[], [], [], []];
  for (const run of [...newestFirst].reverse()) {
    const value = trendValue(run, metric);
    if (value === null) continue;
    data[0].push(Date.parse(run.started_at) / 1000);
    data[1].push(value.median);
    data[2].push(value.low);
    data[3].push(value.high);
  }
  return data;
}

/** Picks a run or lets it go. Two can be picked: a third takes the place of the one that was picked first. */
export function picked(before: number[], id: number): number[] {
  return before.includes(id) ? before.filter((one) => one !== id) : [...before, id].slice(-2);
}

/** The two that are held against each other, the earlier one as side A; null while there are not two. */
export function pairOf(ids: number[], runs: Run[]): [Run, Run] | null {
  const [first, second] = ids.map((id) => runs.find((run) => run.run_id === id));
  if (first === undefined || second === undefined) return null;
  return Date.parse(first.started_at) <= Date.parse(second.started_at) ? [first, second] : [second, first];
}
