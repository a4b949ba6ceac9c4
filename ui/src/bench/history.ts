/** Pure questions about the history: what its address says, and how a figure went over time. */
import type { Run } from '../api/Run';
import type { RunState } from '../api/RunState';
import type { SeriesMetric } from '../api/SeriesMetric';
import type { Trend } from '../api/Trend';
import type { Query } from '../route.svelte';
import type { RunFilter } from '../runs.svelte';

export const PAGE = 50;

/** What of runs can be followed over time. */
export const trendMetrics = [
  'decode_tok_s',
  'prefill_tok_s',
  'ttft_ms',
  'e2e_ms',
  'memory_bytes',
  'energy_j_per_token',
] as const satisfies readonly SeriesMetric[];

const states: RunState[] = ['running', 'done', 'cut_off', 'cancelled'];

/** What is chosen on the page. Empty: all. */
export interface View {
  model: string;
  server: string;
  plan: string;
  state: RunState | '';
  metric: SeriesMetric;
  /** Days of this machine's calendar, "2026-11-29", both in it; empty: any. */
  from: string;
  to: string;
  /** From 0. */
  page: number;
  /** Runs that are picked for a comparison, two at the most. */
  picks: number[];
}

/** What an address says; what it cannot mean is as if it were not there. */
export function viewOf(query: Query): View {
  const page = Number(query.page ?? 1);
  const picks = (query.picks ?? '').split(',').map(Number);
  return {
    model: query.model ?? '',
    server: query.server ?? '',
    plan: query.plan ?? '',
    state: states.find((state) => state === query.state) ?? '',
    metric: trendMetrics.find((metric) => metric === query.figure) ?? 'decode_tok_s',
    from: dayOf(query.from),
    to: dayOf(query.to),
    page: Number.isInteger(page) && page > 0 ? page - 1 : 0,
    picks: picks.filter((id) => Number.isInteger(id) && id > 0).slice(0, 2),
  };
}

/** A day as a field of dates has it; empty: none. */
function dayOf(text: string | undefined): string {
  return text !== undefined && /^\d{4}-\d\d-\d\d$/.test(text) && Number.isFinite(Date.parse(text)) ? text : '';
}

/** When a day begins here, so many days later. */
function beginOf(day: string, later = 0): number {
  const [year = 0, month = 1, date = 1] = day.split('-').map(Number);
  return new Date(year, month - 1, date + later).getTime();
}

/** The same as an address has it: only what is not as usual. */
export function queryOf(view: View): Query {
  const query: Query = {};
  if (view.model.trim() !== '') query.model = view.model.trim();
  for (const key of ['server', 'plan', 'state', 'from', 'to'] as const) if (view[key] !== '') query[key] = view[key];
  if (view.metric !== 'decode_tok_s') query.figure = view.metric;
  if (view.page > 0) query.page = String(view.page + 1);
  if (view.picks.length > 0) query.picks = view.picks.join(',');
  return query;
}

/** What is asked of the engine for the page. */
export function filterOf(view: View): RunFilter {
  const filter: RunFilter = { limit: PAGE };
  if (view.page > 0) filter.offset = view.page * PAGE;
  if (view.model.trim() !== '') filter.model = view.model.trim();
  if (view.server !== '') filter.server = view.server;
  if (view.plan !== '') filter.plan = view.plan;
  if (view.state !== '') filter.state = view.state;
  if (view.from !== '') filter.since_ms = beginOf(view.from);
  if (view.to !== '') filter.until_ms = beginOf(view.to, 1);
  return filter;
}

/** The same figures of the chosen days only. */
export function within(trends: Trend[], view: View): Trend[] {
  if (view.from === '' && view.to === '') return trends;
  const { since_ms = -Infinity, until_ms = Infinity } = filterOf(view);
  const inside = (at: string) => Date.parse(at) >= since_ms && Date.parse(at) < until_ms;
  return trends
    .map((trend) => ({
      ...trend,
      points: trend.points.filter((point) => inside(point.at)),
      change_points: trend.change_points.filter((change) => inside(change.at)),
    }))
    .filter((trend) => trend.points.length > 0);
}

/** How many pages there are; at least the first. */
export function pagesOf(total: number): number {
  return Math.max(1, Math.ceil(total / PAGE));
}

const GB = 1e9;

/** Seconds, medians, lows, highs: oldest first. Memory in GB. */
export function columnsOf(trend: Trend): [number[], number[], number[], number[]] {
  const scale = scaleOf(trend);
  return [
    trend.points.map((point) => Date.parse(point.at) / 1000),
    trend.points.map((point) => point.median / scale),
    trend.points.map((point) => point.low / scale),
    trend.points.map((point) => point.high / scale),
  ];
}

function scaleOf(trend: Trend): number {
  return trend.metric === 'memory_bytes' ? GB : 1;
}

/** A place on the time axis that has something to say. */
export interface TimeMark {
  /** Seconds. */
  at: number;
  words: string;
  tone: 'good' | 'attention';
  /** Of the run with which it began. */
  run: number;
}

/** Where the level changed, and with what. */
export function marksOf(trend: Trend): TimeMark[] {
  return trend.change_points.map((change) => ({
    at: Date.parse(change.at) / 1000,
    words: change.words,
    tone: change.is_better ? 'good' : 'attention',
    run: change.run_id,
  }));
}

/** Those that make a line, with the most points first. */
export function drawn(trends: Trend[], most: number): Trend[] {
  const lines = trends.filter((trend) => trend.points.length > 1);
  return lines.sort((a, b) => b.points.length - a.points.length).slice(0, most);
}

/** Whether the same model on the same server has another line, of another plan. */
export function hasTwin(trend: Trend, among: Trend[]): boolean {
  return among.some((one) => one.server === trend.server && one.model === trend.model && one.plan !== trend.plan);
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
