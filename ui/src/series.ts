/** The gauges' last minutes as columns. */
import type { GaugeHistory } from './api/GaugeHistory';

const KEEP_MS = 15 * 60_000;

type Column = Exclude<keyof GaugeHistory, 'at_ms'>;

const columns: Column[] = [
  'cpu_percent',
  'memory_used_bytes',
  'swap_used_bytes',
  'gpu_load_percent',
  'gpu_memory_used_bytes',
  'servers_memory_bytes',
];

export function emptyHistory(): GaugeHistory {
  return {
    at_ms: [],
    cpu_percent: [],
    memory_used_bytes: [],
    swap_used_bytes: [],
    gpu_load_percent: [],
    gpu_memory_used_bytes: [],
    servers_memory_bytes: [],
  };
}

/** Appends what is newer and forgets what is older than 15 minutes. */
export function joinHistory(old: GaugeHistory, more: GaugeHistory): GaugeHistory {
  const last = old.at_ms.at(-1) ?? -Infinity;
  const firstNew = more.at_ms.findIndex((at) => at > last);
  if (firstNew === -1) return old;
  const newest = more.at_ms.at(-1) ?? last;
  const kept = old.at_ms.findIndex((at) => at >= newest - KEEP_MS);
  const from = kept === -1 ? old.at_ms.length : kept;
  const joined = emptyHistory();
  joined.at_ms = [...old.at_ms.slice(from), ...more.at_ms.slice(firstNew)];
  for (const column of columns) joined[column] = [...old[column].slice(from), ...more[column].slice(firstNew)];
  return joined;
}

/** The usual time between two samples in ms (the median of the last ones); 0 while it is not known. */
export function sampleInterval(history: GaugeHistory): number {
  const recent = history.at_ms.slice(-11);
  const gaps = recent.slice(1).map((at, index) => at - (recent[index] ?? at));
  gaps.sort((a, b) => a - b);
  return gaps[Math.floor(gaps.length / 2)] ?? 0;
}

/** The columns as uPlot wants them: seconds and one row of values. */
export function plotData(history: GaugeHistory, column: Column): [number[], (number | null)[]] {
  return [history.at_ms.map((at) => at / 1000), history[column]];
}

export type { Column };
