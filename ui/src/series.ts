/** The gauges' past as columns. */
import type { GaugeColumns } from './api/GaugeColumns';
import type { GaugeHistory } from './api/GaugeHistory';

const KEEP_MS = 15 * 60_000;

type Column = keyof GaugeColumns;

/** How far back the lines reach, in seconds. The first one is followed sample by sample. */
export const spans = { '15m': 900, '1h': 3600, '24h': 86_400, '30d': 30 * 86_400 };
export type Span = keyof typeof spans;

export const columns: Column[] = [
  'cpu_percent',
  'memory_used_bytes',
  'swap_used_bytes',
  'gpu_load_percent',
  'gpu_memory_used_bytes',
  'gpu_power_w',
  'servers_memory_bytes',
];

export function emptyHistory(): GaugeHistory {
  return {
    at_ms: [],
    step_ms: 0,
    cpu_percent: [],
    memory_used_bytes: [],
    swap_used_bytes: [],
    gpu_load_percent: [],
    gpu_memory_used_bytes: [],
    gpu_power_w: [],
    servers_memory_bytes: [],
    low: null,
    high: null,
  };
}

/** Appends what is newer and forgets what is older than 15 minutes. */
export function joinHistory(old: GaugeHistory, more: GaugeHistory): GaugeHistory {
  const last = old.at_ms.at(-1) ?? -Infinity;
  const firstNew = more.at_ms.findIndex((at) => at > last);
  if (firstNew === -1) return old;
  const newest = more.at_ms.at(-1) ?? last;
  let from = 0;
  while (from < old.at_ms.length && (old.at_ms[from] ?? 0) < newest - KEEP_MS) from += 1;
  const joined = emptyHistory();
  joined.step_ms = more.step_ms;
  joined.at_ms = [...old.at_ms.slice(from), ...more.at_ms.slice(firstNew)];
  for (const column of columns) joined[column] = [...old[column].slice(from), ...more[column].slice(firstNew)];
  return joined;
}

type Values = (number | null)[];
/** Seconds, values, and where these are means the least and greatest samples of each; else nulls. */
export type PlotData = [number[], Values, Values, Values];

/** What all plots of one history have in common. */
const common = new WeakMap<GaugeHistory, { seconds: number[]; none: Values }>();

/** The columns as uPlot wants them. */
export function plotData(history: GaugeHistory, column: Column): PlotData {
  const shared = common.get(history) ?? {
    seconds: history.at_ms.map((at) => at / 1000),
    none: new Array<null>(history.at_ms.length).fill(null),
  };
  common.set(history, shared);
  const { seconds, none } = shared;
  return [seconds, history[column], history.low?.[column] ?? none, history.high?.[column] ?? none];
}

/** Columns of which anything is known. */
export function knownColumns(history: GaugeHistory): Column[] {
  return columns.filter((column) => history[column].some((value) => value !== null));
}

export type { Column };
