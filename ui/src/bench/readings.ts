/** The readings that were taken beside a run: its own trace where it was kept, else the gauges' past. */
import type { GaugeHistory } from '../api/GaugeHistory';
import type { RunDetail } from '../api/RunDetail';
import type { RunTrace } from '../api/RunTrace';
import { emptyHistory } from '../series';

/** A run's own trace is read more often than the gauges, but knows nothing of the processor: without cards the gauges serve. */
export function readingsOf(detail: RunDetail): GaugeHistory | null {
  const { cards } = detail;
  if (cards === null || cards.cards.length === 0 || cards.at_ms.length < 2) return detail.trace;
  return asHistory(cards, Date.parse(detail.run.started_at));
}

/** All cards in one: the busiest one's load, memory and power of all together. */
function asHistory(trace: RunTrace, begin: number): GaugeHistory {
  const history = emptyHistory();
  history.step_ms = stepOf(trace);
  for (const [index, at] of trace.at_ms.entries()) {
    const of = (column: 'load_percent' | 'memory_used_bytes' | 'power_w') =>
      trace.cards.map((card) => card[column][index] ?? null).filter((value) => value !== null);
    history.at_ms.push(begin + at);
    history.cpu_percent.push(null);
    history.memory_used_bytes.push(null);
    history.swap_used_bytes.push(null);
    const loads = of('load_percent');
    history.gpu_load_percent.push(loads.length === 0 ? null : Math.max(...loads));
    history.gpu_memory_used_bytes.push(sum(of('memory_used_bytes')));
    history.gpu_power_w.push(sum(of('power_w')));
    history.servers_memory_bytes.push(trace.instance_memory_bytes[index] ?? null);
  }
  return history;
}

function sum(values: number[]): number | null {
  return values.length === 0 ? null : values.reduce((total, value) => total + value, 0);
}

/** The usual distance of two samples: the middle one, since a hole is no step. */
function stepOf(trace: RunTrace): number {
  const steps = trace.at_ms.slice(1).map((at, index) => at - (trace.at_ms[index] ?? at));
  return steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)] ?? 0;
}

/** What held a card down and for how long, the longest first. */
export function heldDown(trace: RunTrace | null): { reason: string; seconds: number }[] {
  if (trace === null) return [];
  const step = stepOf(trace) / 1000;
  const seconds = new Map<string, number>();
  for (const index of trace.at_ms.keys()) {
    const reasons = new Set(trace.cards.flatMap((card) => card.throttle[index] ?? []));
    for (const reason of reasons) seconds.set(reason, (seconds.get(reason) ?? 0) + step);
  }
  return [...seconds].map(([reason, time]) => ({ reason, seconds: time })).sort((a, b) => b.seconds - a.seconds);
}
